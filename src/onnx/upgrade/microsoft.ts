import { activationForms } from './microsoft/activation.js'
import { attentionForms } from './microsoft/attention.js'
import { groupedQueryForms } from './microsoft/grouped-query.js'
import { linalgForms } from './microsoft/linalg.js'
import { normalizationForms, simplifiedLayerNormalization } from './microsoft/normalization.js'
import { rotaryForms } from './microsoft/rotary.js'
import type { Upgrade } from './upgrade.js'

/** Operators that take and give what those of ai.onnx with the same name do. */
const same: Upgrade = (node) => node

/**
 * Operators of onnxruntime's own domain, which its exporters and its graph optimizer write, in operators of ai.onnx
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). onnxruntime merges them again when it
 * loads a graph.
 */
export const microsoft: Readonly<Record<string, Upgrade>> = {
  ...activationForms,
  ...linalgForms,
  ...normalizationForms,
  ...rotaryForms,
  ...attentionForms,
  ...groupedQueryForms,
  QuantizeLinear: same,
  DequantizeLinear: same,
  Trilu: same,
  GatherND: same,
}

/** Operators that onnxruntime has added to ai.onnx itself. */
const experimental: Readonly<Record<string, Upgrade>> = { SimplifiedLayerNormalization: simplifiedLayerNormalization }

/** How to write an operator outside of ONNX in operators of ai.onnx; undefined where there is no need to, or no way. */
export function standardForm(operator: string, domain: string): Upgrade | undefined {
  const table = domain === 'com.microsoft' ? microsoft : domain === '' ? experimental : {}
  return Object.hasOwn(table, operator) ? table[operator] : undefined
}
