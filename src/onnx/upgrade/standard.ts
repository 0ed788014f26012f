import { simplifiedLayerNormalization } from './microsoft/normalization.js'
import { microsoft } from './microsoft.js'
import { sequenceForms } from './sequence.js'
import { training } from './training.js'
import type { Upgrade } from './upgrade.js'

/** By domain, then by operator: those that are written in other operators, whatever the version. */
const forms: Readonly<Record<string, Readonly<Record<string, Upgrade>>>> = {
  // onnxruntime has added an operator to ai.onnx itself.
  '': { ...sequenceForms, SimplifiedLayerNormalization: simplifiedLayerNormalization },
  'com.microsoft': microsoft,
  'ai.onnx.preview.training': training,
}

/** How importing writes an operator in others; undefined where it takes the operator as it is, or not at all. */
export function standardForm(operator: string, domain: string): Upgrade | undefined {
  const table = Object.hasOwn(forms, domain) ? forms[domain]! : {}
  return Object.hasOwn(table, operator) ? table[operator] : undefined
}
