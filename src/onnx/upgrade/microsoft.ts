import { activationForms } from './microsoft/activation.js'
import { attentionForms } from './microsoft/attention.js'
import { groupedQueryForms } from './microsoft/grouped-query.js'
import { linalgForms } from './microsoft/linalg.js'
import { normalizationForms } from './microsoft/normalization.js'
import { rotaryForms } from './microsoft/rotary.js'
import type { Upgrade } from './upgrade.js'

/** Operators that take and give what those of ai.onnx with the same name do. */
const same: Upgrade = (node) => node

/**
 * Operators of onnxruntime's own domain, which its exporters and its graph optimizer write, in operators of ai.onnx
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). onnxruntime merges many of them again
 * when it loads a graph.
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
