import { OnnxIreError } from '../errors.js'
import { definitions, isOperator } from '../op/index.js'
import type { GraphProto, ModelProto, NodeProto } from './schema.js'
import { upgrades } from './upgrade/index.js'

/** Operators whose presence means that weights and activations are integers. */
const integerOnly = new Set([
  'ConvInteger',
  'MatMulInteger',
  'QLinearConv',
  'QLinearMatMul',
  'DynamicQuantizeLinear',
  'DynamicQuantizeLSTM',
  'QGemm',
  'QLinearAdd',
  'QAttention',
])

/** Every node of a graph, those inside bodies included. */
export function* allNodes(graph: GraphProto): Generator<NodeProto> {
  for (const node of graph.node) {
    yield node
    for (const { g, graphs } of node.attribute) for (const body of g ? [g, ...graphs] : graphs) yield* allNodes(body)
  }
}

const standardDomain = (node: NodeProto) => !node.domain || node.domain === 'ai.onnx'
/** `Conv`, or `com.microsoft.FusedMatMul` outside of ai.onnx. */
export const qualified = (node: NodeProto) => (standardDomain(node) ? (node.opType ?? '?') : `${node.domain}.${node.opType}`)

/** Whether importing takes the operator of a node, as it is or brought to today's form. */
export function isSupported(node: NodeProto): boolean {
  const name = node.opType ?? ''
  if (name === 'Constant' && standardDomain(node)) return true
  const known = isOperator(name) && definitions[name].domain === (standardDomain(node) ? '' : node.domain)
  return known || isLegacy(node)
}

/** Throws one `unsupported-operator` naming every operator of the model that this library does not know. */
export function refuseUnsupported(model: ModelProto): void {
  const unknown = new Map<string, string[]>()
  for (const node of model.graph ? allNodes(model.graph) : []) {
    if (isSupported(node)) continue
    const key = qualified(node)
    unknown.set(key, [...(unknown.get(key) ?? []), node.name || node.output[0] || '?'])
  }
  if (unknown.size === 0) return
  const lines = [...unknown].map(
    ([key, nodes]) => `  ${key} x ${nodes.length}: ${nodes.slice(0, 3).join(', ')}${nodes.length > 3 ? ', ...' : ''}`,
  )
  const quantized = [...unknown.keys()].some((key) => integerOnly.has(key.split('.').at(-1)!))
  const functions =
    model.functions.length > 0
      ? ' Operators defined inside the model (local functions) have to be inlined first (onnx.inliner.inline_local_functions).'
      : ''
  throw new OnnxIreError(
    'unsupported-operator',
    `the model uses operators this library does not know:\n${lines.join('\n')}\n` +
      (quantized
        ? 'It is quantized: its weights are integers, which gradients do not move. Fine-tune the float model it was made from, then quantize again.'
        : `OPERATORS.md lists what is supported.${functions}`),
  )
}

/** Operators of old operator sets that importing replaces. */
const isLegacy = (node: NodeProto) => standardDomain(node) && Object.hasOwn(upgrades, node.opType ?? '')
