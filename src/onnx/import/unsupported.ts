import { findDefinition } from '../../op/facts.js'
import { OnnxIreError } from '../../util/errors.js'
import type { ModelProto, NodeProto } from '../proto/schema.js'
import { upgrades } from '../upgrade/table.js'
import { findRewrite } from '../upgrade/upgrade-node.js'
import { isGradient, isStandardDomain, qualifiedName, walkOperatorNodes } from './model-nodes.js'

const optional = 'optional values are not supported'

/** Operators of ai.onnx that cannot be imported in any form, with the reason. */
export const unsupportedOperators: Readonly<Record<string, string>> = {
  ImageDecoder: 'onnxruntime has no kernel that decodes compressed images: decode them before the model',
  Optional: optional,
  OptionalGetElement: optional,
  OptionalHasElement: optional,
  SequenceMap: 'a body that runs for every tensor of a sequence is not supported: unroll it, or use Scan',
}

/** Operators with integer weights and activations, including those of onnxruntime's own domain. */
const integerOnly =
  /^(Q(Linear|Gemm|Attention|Ordered|EmbedLayer|MoE)|DynamicQuantize|(Conv|MatMul|Mul|ReduceSum)Integer)/

/** Operators that onnxruntime writes if it saves a model that it has optimized for one type of processor. */
const processorSpecific = /^com\.microsoft\.nchwc\.|^com\.ms\.internal\.nhwc\./

/** Whether the operator of a node can be imported, as it is or after a rewrite. */
export function isSupported(node: NodeProto): boolean {
  const name = node.opType ?? ''
  if (name === 'Constant' && isStandardDomain(node)) return true
  if (isGradient(node)) return true
  const domain = isStandardDomain(node) ? '' : node.domain!
  const isDefined = findDefinition(domain, name) !== undefined
  const hasUpgrade = domain === '' && Object.hasOwn(upgrades, name)
  return isDefined || hasUpgrade || findRewrite(name, domain) !== undefined
}

/** Throws `unsupported-operator` with the names of all operators of the model that cannot be imported. */
export function checkOperators(model: ModelProto): void {
  const unsupported = new Map<string, string[]>()
  for (const node of walkOperatorNodes(model)) {
    if (isSupported(node)) continue
    const key = qualifiedName(node)
    unsupported.set(key, [...(unsupported.get(key) ?? []), node.name || node.output[0] || '?'])
  }
  if (unsupported.size === 0) return
  const names = [...unsupported.keys()]
  const lines = [...unsupported].map(([key, nodes]) => {
    const reason = Object.hasOwn(unsupportedOperators, key) ? ` (${unsupportedOperators[key]})` : ''
    return `  ${key} x ${nodes.length}: ${nodes.slice(0, 3).join(', ')}${nodes.length > 3 ? ', ...' : ''}${reason}`
  })
  const advice = names.some((key) => integerOnly.test(key.split('.').at(-1)!))
    ? 'The model is quantized: its weights are integers, which have no gradients. Fine-tune the float model from which it was converted, then quantize again.'
    : names.some((key) => processorSpecific.test(key))
      ? 'The model was saved by onnxruntime after an optimization for one type of processor. Use the original model, or save it with a lower optimization level.'
      : 'OPERATORS.md lists the supported operators.'
  throw new OnnxIreError(
    'unsupported-operator',
    `the model uses unsupported operators:\n${lines.join('\n')}\n${advice}`,
  )
}
