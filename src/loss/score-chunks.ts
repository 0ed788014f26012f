import { gradientsWithin, type Seed, zerosLike } from '../grad/gradient.js'
import { body, currentScope } from '../ir/body.js'
import { constant, input, scalar, tensorFrom } from '../ir/leaf.js'
import { type Shape, sameShape } from '../ir/shape.js'
import { dependenciesOf, topological } from '../ir/topology.js'
import { type Body, type Node, refineShape, type Value } from '../ir/value.js'
import { cloneNode, type Substitution } from '../op/inline.js'
import { definitionOf, op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import { toFullPrecision } from './loss.js'

/** Number of scores of a chunk of automatic size: 8 MiB in float32. */
const scoresAtOnce = 2 ** 21
/** Smallest number of positions of such a chunk: a chunk reads all weights, and so do few positions. */
const minPositions = 64

/** Number of positions of a chunk of automatic size. */
export const automaticChunk = (classes: number): number =>
  Math.max(minPositions, 2 ** Math.floor(Math.log2(scoresAtOnce / Math.max(1, classes))))

/**
 * The end of a model that computes the scores of one position from few features of the same position: matrix products
 * and what follows them.
 */
interface ScoreHead {
  /** Features of all positions: [..., k], where the scores are [..., classes]. */
  readonly features: readonly Value[]
  /** Values that are the same for all positions: weights and biases. */
  readonly shared: readonly Value[]
  /** Nodes in topological order. */
  readonly nodes: readonly Node[]
  readonly scores: Value
}

/** Matrix products of features, their first operand, with a weight. */
const products: ReadonlySet<string> = new Set(['MatMul', 'Gemm', 'MatMulNBits'])

/**
 * Finds the end of a model that starts with matrix products. Throws `invalid-option` if the scores are not computed by
 * such products and element by element from them.
 */
export function findScoreHead(scores: Value): ScoreHead {
  const features = new Set<Value>()
  const shared = new Set<Value>()
  const inside = new Set<Node>()
  const pending = [scores]
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const node = value.source
    if (node.kind !== 'node' || node.scope !== currentScope()) throw noHead(value)
    if (inside.has(node)) continue
    inside.add(node)
    const { view, elementwise } = definitionOf(node.operator)
    if (isProduct(node)) {
      features.add(node.inputs[0]!)
      for (const x of node.inputs.slice(1)) if (x) shared.add(x)
    } else if (view === 'reshaped' && sameLast(node.inputs[0]!.shape, value.shape)) pending.push(node.inputs[0]!)
    else if (elementwise || view === 'same')
      for (const x of dependenciesOf(node)) {
        if (isShared(x, value)) shared.add(x)
        else pending.push(x)
      }
    else throw noHead(value)
  }
  const nodes = topological([scores], (node) => inside.has(node))
  return { features: [...features], shared: [...shared], nodes, scores }
}

/** Whether a node multiplies the features of every position by the same matrix. */
function isProduct({ operator, inputs, attributes }: Node): boolean {
  if (!products.has(operator) || attributes['transA']) return false
  return operator === 'MatMulNBits' || inputs[1]!.shape?.length === 2
}

const sameLast = (a: Shape | undefined, b: Shape | undefined): boolean =>
  a?.at(-1) !== undefined && a.at(-1) === b?.at(-1)

/** Whether an operand of element-wise arithmetic is the same for all positions. */
const isShared = ({ shape }: Value, result: Value): boolean =>
  shape !== undefined && !sameShape(shape, result.shape) && (shape.length < 2 || (shape.length === 2 && shape[0] === 1))

const noHead = (value: Value): OnnxIreError =>
  new OnnxIreError(
    'invalid-option',
    `crossEntropy: option 'chunk' needs logits that are a matrix product of features and a weight, but '${value.name ?? '?'}' is ` +
      `${value.source.kind === 'node' ? `the result of ${value.source.operator}` : 'no result of a node'}: omit the option`,
  )

/** Computes the scores of one chunk of positions. */
function scoresOfChunk({ nodes, scores }: ScoreHead, copies: Substitution): Value {
  for (const node of nodes) {
    const { view } = definitionOf(node.operator)
    // Chunks have two axes, whatever axes the positions of the model have.
    const results = view === 'reshaped' ? [copies.get(node.inputs[0]!)!] : cloneNode(node, copies)
    for (const [i, y] of node.outputs.entries()) copies.set(y, results[i]!)
  }
  return copies.get(scores)!
}

/** A chunk of positions. */
export interface Chunk {
  /** Scores [positions, classes]. */
  readonly z: Value
  /** Slices of the tensors in `ChunkedLoss.perPosition`. */
  readonly perPosition: readonly Value[]
  /** 1 per position, and 0 after the last position; floats. */
  readonly isPosition: Value
  /** Scores of `ChunkedLoss.others`. */
  readonly others: readonly Value[]
  /** Slices of the tensors in `ChunkedLoss.perRow`. */
  readonly perRow: readonly Value[]
}

/** A loss that is a sum over positions. */
export interface ChunkedLoss {
  readonly head: ScoreHead
  /** Number of positions per chunk. */
  readonly size: number
  /** Tensors with one element per position, such as labels and weights. */
  readonly perPosition: readonly Value[]
  /** Ends of other models, whose scores have no gradients. */
  readonly others?: readonly ScoreHead[]
  /** Tensors with a vector per position. */
  readonly perRow?: readonly Value[]
  /** Builds the contribution of a chunk to the loss, its gradient by the scores, and results per position. */
  build(chunk: Chunk): { readonly loss: Value; readonly dz: Value; readonly results: readonly Value[] }
}

/** Results of a chunked loss. */
interface ChunkedResult {
  readonly loss: Value
  /** Results per position, with the shape of the first tensor of `perPosition`. */
  readonly results: readonly Value[]
  /** Gradients of the loss by features and shared values. */
  readonly seeds: readonly Seed[]
}

/**
 * Computes a loss and its gradients by a Loop over chunks of positions, so that the scores of a single chunk are in
 * memory.
 * @param wanted features and shared values whose gradients are needed
 */
export function sumOverChunks(loss: ChunkedLoss, wanted: readonly Value[]): ChunkedResult {
  const { head, size, perPosition } = loss
  const [like] = perPosition
  const count = op.Size(like!)
  const last = op.Sub(count, 1)
  const chunks = op.Div(op.Add(count, size - 1), size)
  const sums = wanted.filter((x) => head.shared.includes(x))
  const features = wanted.filter((x) => !head.shared.includes(x))
  const { iteration, resultCount } = buildIteration(loss, last, sums, features)
  const { dtype } = toFullPrecision(head.scores)
  const outputs = op.Loop(chunks, null, [scalar(dtype, 0), ...sums.map(zerosLike)], { body: iteration })
  const stacks = outputs.slice(1 + sums.length)
  // The loop never ends early.
  const [iterations] = chunks.contents ?? []
  if (iterations !== undefined) for (const x of stacks) refineShape(x, x.shape && [iterations, ...x.shape.slice(1)])
  const results = stacks
    .slice(0, resultCount)
    .map((x) => withShape(unstack(x, [-1], count, op.Shape(like!)), like!.shape))
  const dFeatures = features.map((x, i) => {
    const rows = [-1, x.shape!.at(-1) as number]
    return withShape(unstack(stacks[resultCount + i]!, rows, count, op.Shape(x)), x.shape)
  })
  return {
    loss: outputs[0]!,
    results,
    seeds: [
      ...features.map((x, i): Seed => [x, dFeatures[i]!]),
      ...sums.map((x, i): Seed => [x, withShape(outputs[1 + i]!, x.shape)]),
    ],
  }
}

/**
 * Builds the body of the Loop: the states are the loss and the gradients of shared values so far, the outputs of an
 * iteration are the results per position and the gradients of features.
 * @param last the last position
 * @param sums shared values whose gradients are needed
 */
function buildIteration(
  { head, size, perPosition, build, others = [], perRow = [] }: ChunkedLoss,
  last: Value,
  sums: readonly Value[],
  features: readonly Value[],
): { readonly iteration: Body; readonly resultCount: number } {
  const flat = perPosition.map((x) => op.Reshape(x, [-1]))
  const rows = head.features.map((x) => flattenRows(x))
  const otherRows = others.map(({ features }) => features.map(flattenRows))
  const vectors = perRow.map((x) => op.Flatten(x, { axis: x.shape!.length - 1 }))
  const numbers = Array.from({ length: size }, (_, i) => i)
  const offsets = constant(tensorFrom('int64', [size], numbers))
  const inputs = [
    input('chunk', 'int64', []),
    input('more', 'bool', []),
    input('loss', toFullPrecision(head.scores).dtype, []),
    ...sums.map((x) => input('gradient', x.dtype, x.shape)),
  ]
  let resultCount = 0
  const iteration = body(inputs, (index, more, total, ...gradients) => {
    const scope = currentScope()
    const positions = op.Add(op.Mul(index!, size), offsets)
    const at = op.Min([positions, last])
    const slice = (x: Value) => op.Gather(x, at, { axis: 0 })
    const slices = rows.map(slice)
    const z = toFullPrecision(scoresOfChunk(head, new Map(head.features.map((x, i) => [x, slices[i]!]))))
    const isPosition = op.CastLike(op.LessOrEqual(positions, last), z)
    const scoresOf = (other: ScoreHead, i: number) =>
      toFullPrecision(scoresOfChunk(other, new Map(other.features.map((x, k) => [x, slice(otherRows[i]![k]!)]))))
    const built = build({
      z,
      perPosition: flat.map(slice),
      isPosition,
      others: others.map(scoresOf),
      perRow: vectors.map(slice),
    })
    resultCount = built.results.length
    const wrt = [...sums, ...features.map((x) => slices[head.features.indexOf(x)]!)]
    const inside = (node: Node) => node.scope === scope
    const found = gradientsWithin([[z, built.dz]], wrt, inside)
    const dxs = wrt.map((x, i) => found[i] ?? zerosLike(x))
    return [
      more!,
      op.Add(total!, built.loss),
      ...sums.map((_, i) => op.Add(gradients[i]!, dxs[i]!)),
      ...built.results,
      ...dxs.slice(sums.length),
    ]
  })
  return { iteration, resultCount }
}

/** Features as a matrix with one row per position. */
function flattenRows(x: Value): Value {
  const width = x.shape?.at(-1)
  if (typeof width === 'number') return x.shape!.length === 2 ? x : op.Reshape(x, [-1, width])
  throw new OnnxIreError(
    'invalid-option',
    `crossEntropy: option 'chunk' needs features of known length, but '${x.name ?? '?'}' has the length '${width ?? '?'}': omit the option`,
  )
}

/** Joins the chunks of a stack and removes what is after the last position. */
const unstack = (stack: Value, rows: readonly number[], count: Value, shape: Value): Value =>
  op.Reshape(op.Slice(op.Reshape(stack, rows), [0], op.Reshape(count, [1]), [0]), shape)

function withShape(x: Value, shape: Shape | undefined): Value {
  if (x.source.kind === 'node') refineShape(x, shape)
  return x
}
