import { findDefinition } from '../../op/facts.js'
import { OnnxIreError } from '../../util/errors.js'
import type { AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto } from '../proto/schema.js'
import { upgrades } from '../upgrade/table.js'
import { findRewrite } from '../upgrade/upgrade-node.js'
import { findFunction, indexFunctions } from './functions.js'

const optional = 'its values may be absent, and those of a graph here are there'

/** Operators of ai.onnx that no form of is read, with the reason. */
export const unsupportedOperators: Readonly<Record<string, string>> = {
  ImageDecoder: 'it decodes compressed images, for which onnxruntime has no kernel: decode them before the model',
  Optional: optional,
  OptionalGetElement: optional,
  OptionalHasElement: optional,
  SequenceMap: 'it runs a graph for every tensor of a sequence: unroll it, or use Scan',
}

/** Names of operators, of onnxruntime's own domain too, whose presence means that weights and activations are integers. */
const integerOnly =
  /^(Q(Linear|Gemm|Attention|Ordered|EmbedLayer|MoE)|DynamicQuantize|(Conv|MatMul|Mul|ReduceSum)Integer)/

/** A graph or body; of a function also what its attributes are by default. */
type Nodes = Pick<GraphProto, 'node'> & Partial<Pick<FunctionProto, 'attributeProto'>>

/** Every node of a graph, those inside bodies included. */
export function* walkNodes({ node: nodes, attributeProto = [] }: Nodes): Generator<NodeProto> {
  for (const node of nodes) {
    yield node
    yield* walkAttributeNodes(node.attribute)
  }
  yield* walkAttributeNodes(attributeProto)
}

function* walkAttributeNodes(attributes: readonly AttributeProto[]): Generator<NodeProto> {
  for (const { g, graphs } of attributes) for (const body of g ? [g, ...graphs] : graphs) yield* walkNodes(body)
}

/** The nodes of operators in a model: of its graph and of the functions it calls, each function once, without the calls. */
export function* walkOperatorNodes(model: ModelProto): Generator<NodeProto> {
  const functions = indexFunctions(model)
  const called = new Set<Nodes>(model.graph ? [model.graph] : [])
  // A set goes on to what is added while it is walked.
  for (const graph of called)
    for (const node of walkNodes(graph)) {
      const of = findFunction(functions, node)
      if (of) called.add(of)
      else yield node
    }
}

export const isStandardDomain = (node: NodeProto) => !node.domain || node.domain === 'ai.onnx'
/** `Conv`, or `com.microsoft.FusedMatMul` outside of ai.onnx. */
export const qualifiedName = (node: NodeProto) =>
  isStandardDomain(node) ? (node.opType ?? '?') : `${node.domain}.${node.opType}`

/** Its inputs go by the names of tensors: how it is read, no table of forms tells. */
export const isGradient = ({ opType, domain }: NodeProto): boolean =>
  opType === 'Gradient' && domain === 'ai.onnx.preview.training'

/** Whether importing takes the operator of a node, as it is or brought to today's form. */
export function isSupported(node: NodeProto): boolean {
  const name = node.opType ?? ''
  if (name === 'Constant' && isStandardDomain(node)) return true
  if (isGradient(node)) return true
  const domain = isStandardDomain(node) ? '' : node.domain!
  const known = findDefinition(domain, name) !== undefined
  const legacy = domain === '' && Object.hasOwn(upgrades, name)
  return known || legacy || findRewrite(name, domain) !== undefined
}

/** Throws one `unsupported-operator` naming every operator of the model that this library does not know. */
export function checkOperators(model: ModelProto): void {
  const unknown = new Map<string, string[]>()
  for (const node of walkOperatorNodes(model)) {
    if (isSupported(node)) continue
    const key = qualifiedName(node)
    unknown.set(key, [...(unknown.get(key) ?? []), node.name || node.output[0] || '?'])
  }
  if (unknown.size === 0) return
  const lines = [...unknown].map(
    ([key, nodes]) =>
      `  ${key} x ${nodes.length}: ${nodes.slice(0, 3).join(', ')}${nodes.length > 3 ? ', ...' : ''}${Object.hasOwn(unsupportedOperators, key) ? ` (${unsupportedOperators[key]})` : ''}`,
  )
  const quantized = [...unknown.keys()].some((key) => integerOnly.test(key.split('.').at(-1)!))
  const compiled = [...unknown.keys()].some((key) => /^com\.microsoft\.nchwc\.|^com\.ms\.internal\.nhwc\./.test(key))
  throw new OnnxIreError(
    'unsupported-operator',
    `the model uses operators this library does not know:\n${lines.join('\n')}\n` +
      (quantized
        ? 'It is quantized: its weights are integers, which gradients do not move. Fine-tune the float model it was made from, then quantize again.'
        : compiled
          ? 'It was saved after an optimization for one kind of processor: use the model from before, or save it with a lower optimization level.'
          : 'OPERATORS.md lists what is supported.'),
  )
}
