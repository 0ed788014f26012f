import { constantTensor, input } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import { bodiesOf, withBodies } from '../ir/topology.js'
import { type Node, Value } from '../ir/value.js'
import { attributesKey } from '../onnx/export/cse.js'
import { exportGraph, type GraphSpec } from '../onnx/export/export-graph.js'
import { importGraph } from '../onnx/import/import-graph.js'
import { isStandardDomain } from '../onnx/import/model-nodes.js'
import { decodeModel } from '../onnx/model.js'
import { encode } from '../onnx/proto/encode.js'
import type { ExternalData } from '../onnx/proto/external-data.js'
import { edit } from '../onnx/proto/message.js'
import { knownNumbers } from '../op/contents.js'
import { definitionOf } from '../op/op.js'
import type { CompileHints } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import { lower } from './lower.js'
import { webgpu } from './webgpu/target.js'

/**
 * Names the nodes because of which WebGPU refuses a model while nodes on the CPU are forbidden, each with its operator
 * and the reason. They are found by compiling every kind of node alone.
 *
 * @param error error of onnxruntime, `isCpuRefusal`; it is returned if the nodes are not found
 * @param compile compiles a model with the CPU forbidden, and releases it
 * @param externalData weights beside the model, by location
 */
export async function nameCpuNodes(
  error: OnnxIreError,
  bytes: Uint8Array,
  compile: (model: Uint8Array) => Promise<void>,
  externalData?: CompileHints['externalData'],
): Promise<OnnxIreError> {
  try {
    const read: ExternalData['read'] = (location, offset, length) =>
      externalData!.get(location)!.subarray(offset, length === undefined ? undefined : offset + length)
    const model = decodeModel(bytes, externalData ? { read } : null)
    const set = model.proto.opsetImport.find(isStandardDomain)?.version
    const nodes = withBodies(importGraph(model).outputs.values())
    const found = await findCpuNodes(nodes, Number(set ?? 13), compile)
    if (found.length === 0) return error
    const names = found
      .slice(0, maxShownNodes)
      .map(({ node, reason }) => `${nameOf(node)} (${node.operator}: ${reason})`)
    const rest = found.length > maxShownNodes ? ` and ${found.length - maxShownNodes} more` : ''
    return new OnnxIreError(
      'runtime',
      `cpuNodes is 'forbidden', and WebGPU does not run ${names.join(', ')}${rest}; with cpuNodes: 'allowed' the CPU runs them`,
      { cause: error },
    )
  } catch {
    // The model has operators that this library does not read: onnxruntime's message has to do.
    return error
  }
}

/** Maximal number of nodes in the message. */
const maxShownNodes = 8

const nameOf = ({ name, outputs }: Node): string => `'${name || outputs[0]?.name || 'without a name'}'`

interface CpuNode {
  readonly node: Node
  readonly reason: string
}

async function findCpuNodes(
  nodes: readonly Node[],
  operatorSet: number,
  compile: (model: Uint8Array) => Promise<void>,
): Promise<CpuNode[]> {
  const lengths = new Set<Value>()
  const reasons = new Map<string, string | undefined>()
  const runs = async (spec: GraphSpec, set?: number) =>
    compile(encodeIn(spec, set)).then(
      () => true,
      () => false,
    )
  const reasonOf = async (node: Node): Promise<string | undefined> => {
    const { operator, domain } = node
    const last = domain === '' ? definitionOf(operator).maxOpset['webgpu'] : undefined
    if (last !== undefined && last < operatorSet)
      return `it has a kernel up to operator set ${last}, and the model uses ${operatorSet}`
    if (bodiesOf(node).length > 0) return operator === 'If' ? undefined : 'its iterations run on the CPU'
    const alone = graphOf(node)
    if (await runs(alone, operatorSet)) return undefined
    const lowered = lower(alone, webgpu)
    const isReplaced = [...lowered.outputs].some(([name, value]) => value !== alone.outputs.get(name))
    if (isReplaced && (await runs(lowered)))
      return 'it has no kernel; compileModel replaces it by operators that have one'
    return `it has no kernel for ${typesOf(node)}`
  }
  const found: CpuNode[] = []
  for (const node of nodes) {
    const isLength = definitionOf(node.operator).shapeOnly
    const follows = followsFromLengths(node, lengths)
    if (isLength || follows) for (const value of node.outputs) lengths.add(value)
    if (follows) {
      if (node.outputs.some((value) => !knownNumbers(value)))
        found.push({ node, reason: 'it computes with lengths that are known only when the graph runs' })
      continue
    }
    const key = keyOf(node)
    const reason = key !== undefined && reasons.has(key) ? reasons.get(key) : await reasonOf(node)
    if (key !== undefined) reasons.set(key, reason)
    if (reason !== undefined) found.push({ node, reason })
  }
  return found
}

/** Whether a node computes with lengths of tensors and constants only, which onnxruntime leaves to the CPU. */
function followsFromLengths({ inputs }: Node, lengths: ReadonlySet<Value>): boolean {
  const given = inputs.filter((value) => value !== null)
  return (
    given.some((value) => lengths.has(value)) &&
    given.every((value) => lengths.has(value) || value.source.kind === 'constant')
  )
}

const typesOf = ({ inputs }: Node): string =>
  [...new Set(inputs.flatMap((value) => (value ? [value.dtype] : [])))].join(' and ') || 'its type'

/** Nodes with the same key are compiled once; undefined if attributes contain tensors or bodies. */
function keyOf(node: Node): string | undefined {
  const attributes = attributesKey(node)
  if (attributes === undefined) return undefined
  const operands = node.inputs.map((value) => value && [value.dtype, value.shape, knownNumbers(value)])
  return JSON.stringify([node.domain, node.operator, attributes, node.outputs.length, operands])
}

/** Maximal number of elements of a constant that configures an operator, such as a shape. */
const maxConfiguringElements = 64

/** A graph of the node alone. Its inputs are graph inputs, except for constants that configure it. */
function graphOf(node: Node): GraphSpec {
  const inputs = new Map<string, Value>()
  const operands = node.inputs.map((value, i) => {
    if (value === null) return null
    const tensor = constantTensor(value)
    if (tensor && sizeOf(tensor.dims) <= maxConfiguringElements) return value
    const operand = input(`x${i}`, value.dtype, value.shape)
    inputs.set(`x${i}`, operand)
    return operand
  })
  const outputs: Value[] = []
  const alone: Node = { ...node, inputs: operands, outputs, scope: undefined }
  for (const value of node.outputs) outputs.push(new Value(value, alone, value.index, undefined, value.contents))
  return { name: node.operator, inputs, outputs: new Map(outputs.map((value, i) => [`y${i}`, value])) }
}

/** Encodes a graph in an operator set, by default the lowest that has its operators. */
function encodeIn(spec: GraphSpec, operatorSet?: number): Uint8Array {
  const proto = exportGraph(spec)
  const version = operatorSet === undefined ? undefined : BigInt(operatorSet)
  const opsetImport = proto.opsetImport.map((set) =>
    !isStandardDomain(set) || version === undefined || (set.version ?? 0n) > version ? set : edit(set, { version }),
  )
  return encode('ModelProto', edit(proto, { opsetImport }))
}
