import { input, scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import { type ClassScores, type LabelOptions, sampleByInverse, weighLabels } from './class-scores.js'
import type { LossGraph } from './loss.js'
import { multiplyOptional, oneIfZero, sum } from './sample-weights.js'
import { automaticChunk, type Chunk, type ChunkedLoss, findScoreHead, sumOverChunks } from './score-chunks.js'

/** Term that is added to the loss of the labels in every chunk. */
interface ChunkTerm extends Pick<ChunkedLoss, 'others' | 'perRow'> {
  /** Factor of the loss of the labels. */
  readonly labelShare: number
  /**
   * Builds the contribution of a chunk to the loss, and its gradient by the scores.
   * @param weight weight of every position in the mean
   */
  build(chunk: Chunk, weight: Value): { readonly loss: Value; readonly dz: Value }
}

/** The end of the model that computes the scores, and the number of positions per chunk. */
type ScoreChunks = Pick<ChunkedLoss, 'head' | 'size'>

/** Divides scores into chunks. Throws `invalid-option` if that is impossible. */
function divideScores({ logits, axis, shape }: ClassScores, chunk: number | 'auto'): ScoreChunks {
  const classes = shape[axis]
  if (axis !== shape.length - 1)
    throw new OnnxIreError(
      'invalid-option',
      "crossEntropy: option 'chunk' needs logits whose classes are along the last axis",
    )
  if (chunk === 'auto' && typeof classes !== 'number')
    throw new OnnxIreError(
      'invalid-option',
      `crossEntropy: the number of classes is '${classes}': set option 'chunk' to a number`,
    )
  return { head: findScoreHead(logits), size: chunk === 'auto' ? automaticChunk(classes as number) : chunk }
}

/** A mean over positions, of the losses of labels that are chosen for each chunk. */
interface ChunkedMean {
  /** Tensors with one element per position. */
  readonly perPosition: readonly Value[]
  /** Weight of every position, and the divisor of the mean. */
  readonly weights: Value | null
  readonly total: Value
  /** Chooses the labels of a chunk from the slices of `perPosition`. */
  choose(softmax: ChunkSoftmax, perPosition: readonly Value[]): Omit<ChunkLabels, 'softmax' | 'weight'>
  readonly term?: ChunkTerm | undefined
}

/** Builds a mean over chunks, with its gradients by the features and shared values in `active`. */
function meanOverChunks(
  { head, size }: ScoreChunks,
  active: ReadonlySet<Value>,
  { perPosition, weights, total, choose, term }: ChunkedMean,
) {
  const loss: ChunkedLoss = {
    head,
    size,
    perPosition: present([...perPosition, weights]),
    ...(term && { others: term.others ?? [], perRow: term.perRow ?? [] }),
    build: (chunk) => {
      const { z, perPosition: slices, isPosition } = chunk
      const softmax = softmaxOfChunk(z)
      const weight = op.Div(weights ? op.Mul(slices.at(-1)!, isPosition) : isPosition, total)
      const labelWeight = term ? op.Mul(weight, term.labelShare) : weight
      const own = chunkLoss({ softmax, weight: labelWeight, ...choose(softmax, slices) })
      if (!term) return own
      const { loss, dz } = term.build(chunk, weight)
      return { loss: op.Add(own.loss, loss), dz: op.Add(own.dz, dz), results: own.results }
    },
  }
  const wanted = [...head.features, ...head.shared].filter((x) => active.has(x))
  return sumOverChunks(loss, wanted)
}

const present = (values: readonly (Value | null)[]): readonly Value[] => values.filter((value) => value !== null)

/**
 * Builds the cross-entropy against class numbers with the logits of a chunk of positions at a time.
 * @param term added to the loss, but not to that of sampled labels
 */
export function buildChunkedLoss(
  scores: ClassScores,
  name: string,
  options: LabelOptions & { readonly chunk: number | 'auto' },
  term?: ChunkTerm,
): LossGraph {
  const chunks = divideScores(scores, options.chunk)
  const weighed = weighLabels(scores, name, options, 'crossEntropy')
  const { labels, all, lossWeights, graph, comparison, labelWeights, classWeights } = weighed
  const noise = input(`noise/${name}`, scores.z.dtype, labels.shape)
  const { labelSmoothing: share = 0 } = options

  const build = (active: ReadonlySet<Value>): LossGraph => {
    const plain = meanOverChunks(chunks, active, {
      perPosition: present([labels, share > 0 ? labelWeights : null]),
      weights: lossWeights.weights,
      total: oneIfZero(all.total),
      choose: (_, [y, w]) => ({
        labels: y!,
        smoothing: share === 0 ? null : { share, labelWeights: labelWeights && w!, classWeights },
      }),
      term,
    })
    const [predicted, nll] = plain.results
    const divisor = all.weights ? op.Sqrt(oneIfZero(op.Mul(all.count, all.total))) : all.count
    const sampled = meanOverChunks(chunks, active, {
      perPosition: [noise],
      weights: all.weights && op.Sqrt(all.weights),
      total: divisor,
      choose: ({ e, sum }, [u]) => ({ labels: sampleByInverse(e, 1, u!, op.Squeeze(sum, [1])), smoothing: null }),
    })
    return {
      ...graph,
      loss: plain.loss,
      seeds: plain.seeds,
      withSeeds: build,
      predictions: new Map([['', { ...comparison, results: { predicted: predicted!, nll: nll! } }]]),
      sampled: {
        loss: sampled.loss,
        seeds: sampled.seeds,
        noise: new Map([[noise.name!, { value: noise, distribution: 'uniform' }]]),
      },
    }
  }
  return build(new Set())
}

/** Softmax of a chunk of scores [n, classes], with one array of the size of the scores beside them. */
interface ChunkSoftmax {
  readonly z: Value
  /** exp(z - max z). */
  readonly e: Value
  /** Sum of `e` over the classes: [n, 1]. */
  readonly sum: Value
  /** log sum exp z: [n]. */
  readonly logSum: Value
}

export function softmaxOfChunk(z: Value): ChunkSoftmax {
  const max = op.ReduceMax(z, [1])
  const e = op.Exp(op.Sub(z, max))
  const sum = op.ReduceSum(e, [1])
  return { z, e, sum, logSum: op.Squeeze(op.Add(op.Log(sum), max), [1]) }
}

/** Labels of a chunk, with the weights of their losses. */
interface ChunkLabels {
  readonly softmax: ChunkSoftmax
  readonly labels: Value
  /** Weight of the loss of every label. */
  readonly weight: Value
  readonly smoothing: {
    readonly share: number
    readonly labelWeights: Value | null
    readonly classWeights: Value | null
  } | null
}

/**
 * Cross-entropy of a chunk with its gradient, for v the weight of a label, a = (1 - s) w[y], b[c] = s w[c] / C:
 *
 *     l = v (a (log sum exp z - z[y]) + sum_c b[c] (log sum exp z - z[c]))
 *     dl / dz[c] = v ((a + sum b) softmax(z)[c] - a [c = y] - b[c])
 */
export function chunkLoss({ softmax, labels, weight, smoothing }: ChunkLabels) {
  const { z, e, sum: total, logSum } = softmax
  const at = op.Unsqueeze(labels, [1])
  const nll = op.Sub(logSum, op.Squeeze(op.GatherElements(z, at, { axis: 1 }), [1]))
  const results = [op.ArgMax(z, { axis: 1, keepdims: 0 }), nll]
  const times = (x: Value | null) => op.Unsqueeze(multiplyOptional(x, weight)!, [1])
  const scatter = (dz: Value, share: Value) => op.ScatterElements(dz, at, op.Neg(share), { axis: 1, reduction: 'add' })
  if (!smoothing) {
    const dz = scatter(op.Mul(e, op.Div(times(null), total)), times(null))
    return { loss: sum(op.Mul(nll, weight)), dz, results }
  }
  const { share, labelWeights, classWeights } = smoothing
  const a = labelWeights ? op.Mul(labelWeights, 1 - share) : scalar(z.dtype, 1 - share)
  const mean = (x: Value) => op.ReduceMean(x, [1], { keepdims: 0 })
  const b = classWeights ? op.Mul(classWeights, share) : scalar(z.dtype, share)
  const spread = classWeights ? op.ReduceMean(b, { keepdims: 0 }) : b
  const losses = op.Add(op.Mul(a, nll), op.Sub(op.Mul(spread, logSum), mean(op.Mul(z, b))))
  const classes = op.CastLike(op.Gather(op.Shape(z), scalar('int64', 1)), z)
  const p = op.Mul(e, op.Div(times(op.Add(a, spread)), total))
  const dz = scatter(op.Sub(p, op.Mul(times(null), op.Div(b, classes))), times(a))
  return { loss: sum(op.Mul(losses, weight)), dz, results }
}
