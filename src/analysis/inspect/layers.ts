import { dtypes, isFloat } from '../../ir/dtype.js'
import type { Shape } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import { bodiesOf, withBodies } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { isInput } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { findOrigins, type Origins, resolveParameters } from '../../train/model/stored-values.js'
import { formatUnknown } from './apply-shapes.js'
import { varyingNodes, type Work } from './work.js'

/** An operator that reads weights, with its separate bias and norm; or an operator without weights. */
export interface LayerReport {
  /** Name derived from the names of the weights, else the node's name. */
  readonly name: string
  readonly operators: readonly string[]
  /** Shape of the result after bias and norm; null if the number of axes is unknown. */
  readonly shape: Shape | null
  /** Number of elements of the weights, without running statistics. Shared weights are counted in the first layer. */
  readonly parameters: number
  /** Number of trainable elements. */
  readonly trainable: number
  /** Operations of the forward pass per example, without those of layers in bodies of its nodes; null if unknown. */
  readonly flops: number | null
}

interface LayerDraft {
  readonly nodes: Node[]
  readonly weights: Value[]
  parameters: number
  trainable: number
}

/**
 * Lists the layers of a graph in its order; layers inside bodies precede the operator with the bodies.
 * @param trained names of the trainable tensors
 * @param work operations of the forward pass of `examples` examples, if known
 */
export function listLayers(
  graph: Graph,
  trained: ReadonlySet<string>,
  work: Work | null,
  examples: number,
): LayerReport[] {
  const outputs = [...graph.outputs.values()]
  const all = withBodies(outputs)
  const varying = new Set(varyingNodes(all, ({ source }) => source.kind === 'parameter'))
  const readers = countReaders(all, outputs)
  const origins = findOrigins(all)
  const seen = new Set<Value>()
  const rowOf = new Map<Node, LayerDraft>()
  const rows: LayerDraft[] = []
  for (const node of all) {
    const own = [...new Set(node.inputs.flatMap((x, slot) => findLayerWeights(node, slot, x, trained, origins)))]
    // A node that depends on constants only is no layer, unless it looks up weights (positions, a class token).
    if (!varying.has(node) && (own.length === 0 || returnsWeights(node))) continue
    const before = own.length > 0 && follows(node, own) ? layerBefore(node, readers, rowOf) : undefined
    const row = before ?? { nodes: [], weights: [], parameters: 0, trainable: 0 }
    if (!before) rows.push(row)
    rowOf.set(node, row)
    row.nodes.push(node)
    row.weights.push(...own)
    for (const weight of own) {
      if (seen.has(weight)) continue
      seen.add(weight)
      row.parameters += countElements(node, weight)
      if (weight.source.kind === 'parameter') row.trainable += countElements(node, weight)
    }
  }
  return rows.map((row) => describeLayer(row, work, examples))
}

function describeLayer(
  { nodes, weights, parameters, trainable }: LayerDraft,
  work: Work | null,
  examples: number,
): LayerReport {
  const shape = nodes.at(-1)!.outputs[0]?.shape
  const known = work !== null && !nodes.some((node) => work.unknown.includes(node))
  // The nodes of a body have rows of their own.
  const flopsOf = (node: Node) => (bodiesOf(node).length > 0 ? 0 : (work?.byNode.get(node) ?? 0))
  return {
    name: nameOf(nodes[0]!, weights[0]),
    operators: nodes.map(({ operator }) => operator),
    shape: shape ? formatUnknown(shape) : null,
    parameters,
    trainable,
    flops: known ? nodes.reduce((sum, node) => sum + flopsOf(node), 0) / examples : null,
  }
}

/** `layer1.0.conv1.weight` says more than `Conv_12`; `onnx::MatMul_417` less. */
function nameOf({ name, outputs }: Node, weight: Value | undefined): string {
  const stem = /^(.+)[./](weight|kernel|gamma|w)$/.exec(weight?.name ?? '')?.[1]
  return stem ?? name ?? weight?.name ?? outputs[0]?.name ?? ''
}

/** The weights that an operand is or is a view of. */
function findLayerWeights(
  node: Node,
  slot: number,
  x: Value | null,
  trained: ReadonlySet<string>,
  origins: Origins,
): readonly Value[] {
  if (!x) return []
  const { source } = x
  if (source.kind === 'constant')
    return isInput(definitionOf(node.operator), 'quantizedWeights', slot) && isLong(x) ? [x] : []
  if (source.kind === 'node' && source.operator === 'DequantizeLinear')
    return source.inputs[0]?.source.kind === 'constant' && isLong(source.inputs[0]) ? [source.inputs[0]] : []
  const unexpanded = source.kind === 'node' && source.operator === 'Expand' ? source.inputs[0] : x
  return resolveParameters(unexpanded, origins).filter(({ name = '' }) => trained.has(name))
}

/** Whether a node returns stored weights in another shape, order or type. */
const returnsWeights = ({ operator, outputs }: Node): boolean =>
  operator === 'Expand' || operator === 'DequantizeLinear' || resolveParameters(outputs[0]).length > 0

const isLong = ({ shape }: Value): boolean => sizeOf(shape as readonly number[]) > 1

/** Number of elements; a byte may hold several quantized weights. */
function countElements({ attributes: { bits } }: Node, { shape, dtype }: Value): number {
  const each = typeof bits === 'number' && !isFloat(dtype) ? Math.max(1, dtypes[dtype].bits / bits) : 1
  return each * sizeOf(shape as readonly number[])
}

const follows = ({ operator }: Node, own: readonly Value[]): boolean =>
  definitionOf(operator).layer === 'previous' && own.every(({ shape }) => shape!.filter((dim) => dim !== 1).length <= 1)

/** The layer whose result a node reads, if the node is the only reader. */
function layerBefore(
  node: Node,
  readers: ReadonlyMap<Value, number>,
  rowOf: ReadonlyMap<Node, LayerDraft>,
): LayerDraft | undefined {
  for (const x of node.inputs) {
    const row = x?.source.kind === 'node' ? rowOf.get(x.source) : undefined
    if (row && row.weights.length > 0 && row.nodes.at(-1) === x!.source && readers.get(x!) === 1) return row
  }
  return undefined
}

function countReaders(nodes: readonly Node[], outputs: readonly Value[]): ReadonlyMap<Value, number> {
  const readers = new Map<Value, number>()
  for (const x of [...nodes.flatMap(({ inputs }) => inputs), ...outputs])
    if (x) readers.set(x, (readers.get(x) ?? 0) + 1)
  return readers
}
