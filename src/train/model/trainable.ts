import type { TypedArray } from '../../ir/dtype.js'
import { numbersOf } from '../../ir/leaf.js'
import { withBodies } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { createMatcher, matchNames, type NamePatterns } from '../../util/pattern.js'

/** Where an operator takes what a layer learns, by input position. */
const weightInputs: Readonly<Record<string, readonly number[]>> = {
  Conv: [1, 2],
  ConvTranspose: [1, 2],
  Gemm: [0, 1, 2],
  MatMul: [0, 1],
  BatchNormalization: [1, 2],
  InstanceNormalization: [1, 2],
  LayerNormalization: [1, 2],
  GroupNormalization: [1, 2],
  RMSNormalization: [1],
  PRelu: [1],
  Gather: [0],
  Einsum: [0, 1, 2, 3],
  LSTM: [1, 2, 3, 7],
  GRU: [1, 2, 3],
  RNN: [1, 2, 3],
}

/** Operators by which exporters write a layer's bias or scale apart from it. */
const perChannel = new Set(['Add', 'Sub', 'Mul', 'Div'])
/** Operators that pass a weight on unchanged but for its form. */
const views = new Set(['Transpose', 'Reshape', 'Identity', 'Cast', 'Squeeze', 'Unsqueeze', 'Slice'])

/**
 * The parameters in weight positions: weights and biases of convolutions, matrix products, norms, embeddings, PReLU and
 * recurrent layers; and vectors along one axis that are added or multiplied onto what such a layer gives, which is how
 * exporters write a bias or a norm's scale apart; and tables of feature vectors that are added to a layer's, or joined to
 * them, as positions and class tokens are. A mask, a rotary table, a pixel mean, a grid of anchors is none of these.
 */
export function findWeights(graph: Graph): Set<Value> {
  const weights = new Set<Value>()
  const learned = new Set<Node>()
  const nodes = withBodies(graph.outputs.values())
  const users = usersOf(nodes)
  for (const node of nodes) {
    const slots = weightInputs[node.operator] ?? []
    const direct = slots.flatMap((index) => resolveParameters(node.inputs[index]))
    for (const weight of direct) if (node.operator !== 'Gather' || isEmbedding(weight, node, users)) weights.add(weight)
    const fromLayer = node.inputs.some((x) => x?.source.kind === 'node' && learned.has(x.source))
    if (fromLayer && perChannel.has(node.operator)) {
      for (const x of node.inputs) if (x?.source.kind === 'parameter' && isVector(x)) weights.add(x)
    }
    if (fromLayer && (node.operator === 'Add' || node.operator === 'Concat')) {
      for (const x of node.inputs.map(unexpanded))
        if (x?.source.kind === 'parameter' && isLearnedTable(x)) weights.add(x)
    }
    if (direct.length > 0 || fromLayer) learned.add(node)
  }
  return weights
}

/** The parameters an operator reads: one, itself or through views or cuts of it, or several joined to one tensor. */
export function resolveParameters(value: Value | null | undefined): readonly Value[] {
  const parameters = new Set<Value>()
  const open = new Set(value ? [value] : [])
  // A set goes on to what is added while it is walked.
  for (const each of open) {
    if (each.source.kind === 'parameter') parameters.add(each)
    else if (each.source.kind !== 'node') return []
    else if (views.has(each.source.operator)) open.add(each.source.inputs[0]!)
    else if (each.source.operator === 'Concat') for (const part of each.source.inputs) open.add(part!)
    else return []
  }
  return [...parameters]
}

function usersOf(nodes: readonly Node[]): ReadonlyMap<Value, readonly Node[]> {
  const users = new Map<Value, Node[]>()
  for (const node of nodes) for (const x of node.inputs) if (x) users.set(x, [...(users.get(x) ?? []), node])
  return users
}

/** A table of vectors that is looked up, and not one of cosines or sines that turn what they meet by its position. */
function isEmbedding(table: Value, lookup: Node, users: ReadonlyMap<Value, readonly Node[]>): boolean {
  if ((table.shape?.length ?? 0) < 2) return false
  return !(onlyMultiplies(lookup.outputs[0]!, users) && beginsAtAngleZero(table))
}

function onlyMultiplies(value: Value, users: ReadonlyMap<Value, readonly Node[]>): boolean {
  const nodes = users.get(value) ?? []
  return (
    nodes.length > 0 &&
    nodes.every((node) =>
      views.has(node.operator)
        ? onlyMultiplies(node.outputs[0]!, users)
        : node.operator === 'Mul' && node.inputs.some((x) => x !== value && x?.source.kind === 'node'),
    )
  )
}

/** Position 0 is turned by no angle: cosines are 1 there, sines 0. */
function beginsAtAngleZero({ source, shape }: Value): boolean {
  if (source.kind !== 'parameter') return false
  const { dtype, data } = source.tensor
  const width = Math.min(data.length, Number(shape?.at(-1) ?? 0))
  const first = numbersOf({ dtype, dims: [width], data: (data as TypedArray).subarray(0, width) })
  return first.every((x) => x === 1) || first.every((x) => x === 0)
}

/** What is repeated along axes of length 1: a class token is, for every example. */
const unexpanded = (x: Value | null): Value | null | undefined =>
  x?.source.kind === 'node' && x.source.operator === 'Expand' ? x.source.inputs[0] : x

/** Vectors of features that look drawn or learned: wide, of many values, and no multiples of 1/2 (as anchors are) or waves. */
function isLearnedTable(x: Value): boolean {
  const { source, shape, dtype } = x
  const width = shape?.at(-1)
  if (source.kind !== 'parameter' || typeof width !== 'number' || width < 8) return false
  const { data } = source.tensor
  const some = numbersOf({ dtype, dims: [Math.min(data.length, 4096)], data: (data as TypedArray).subarray(0, 4096) })
  if (new Set(some).size < 8 || some.every((value) => Number.isInteger(2 * value))) return false
  // A table of sines and cosines begins with angle 0.
  return !some.slice(0, width).every((value) => value === 0 || value === 1)
}

/** All elements along one axis, and more than one of them. */
const isVector = ({ shape }: Value): boolean => shape?.filter((dim) => dim !== 1).length === 1

/** Which parameters to train: those in weight positions, names that fit patterns, or the weights but for some. */
export type Trainable = 'weights' | NamePatterns | { readonly include?: NamePatterns; readonly exclude?: NamePatterns }

/** The parameters a choice names, in the model's order. Throws `invalid-option` when a pattern fits nothing. */
export function findTrainable(graph: Graph, trainable: Trainable = 'weights'): Map<string, Value> {
  const choice = choiceOf(trainable)
  const weights = findWeights(graph)
  const included = choice.include ? new Set(matchNames(choice.include, graph.parameters.keys(), 'tensor')) : undefined
  if (choice.exclude) matchNames(choice.exclude, graph.parameters.keys(), 'tensor')
  const excluded = choice.exclude ? createMatcher(choice.exclude) : () => false
  return new Map(
    [...graph.parameters].filter(
      ([name, value]) => (included ? included.has(name) : weights.has(value)) && !excluded(name),
    ),
  )
}

function choiceOf(trainable: Trainable): { readonly include?: NamePatterns; readonly exclude?: NamePatterns } {
  if (trainable === 'weights') return {}
  return typeof trainable === 'string' || isList(trainable) ? { include: trainable } : trainable
}

const isList = (trainable: Trainable): trainable is readonly string[] => Array.isArray(trainable)
