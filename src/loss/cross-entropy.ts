import { dtypes, isFloat } from '../ir/dtype.js'
import { constant, input, scalar, tensorFrom } from '../ir/leaf.js'
import { axisOf, formatShape, type Shape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { belowOne, checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { automaticChunk, type Chunk, type ChunkedLoss, findScoreHead, sumOverChunks } from './chunked-cross-entropy.js'
import { findLastArgument, findOutput, type Loss, type LossGraph, skipIdentity, toFullPrecision } from './loss.js'
import {
  checkLossNames,
  checkNonNegativeList,
  countAndWeight,
  type LossWeightOptions,
  multiplyOptional,
  oneIfZero,
  type SampleWeights,
  sampledMean,
  sum,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of `crossEntropy`. */
export interface CrossEntropyOptions extends LossWeightOptions {
  /**
   * Output of the model that holds the logits. A trailing Softmax or LogSoftmax is recognized and bypassed. Default:
   * the only output.
   */
  readonly logits?: string
  /**
   * Name of the data's labels: int64, the logits' shape without the class axis; with `probabilities` floats of the
   * logits' shape. Default 'labels'.
   */
  readonly labels?: string
  /** Axis of the classes: 1 for [N, C, H, W]. Default: the axis of the bypassed Softmax, else the last. */
  readonly axis?: number
  /** Whether labels are distributions over the classes, from mixup, distillation or soft labels. Default false. */
  readonly probabilities?: boolean
  /** Label smoothing in [0, 1): the share of each target that is spread evenly over all classes. Default 0. */
  readonly labelSmoothing?: number
  /** Weight >= 0 of every class. Default: all weights are 1. */
  readonly classWeights?: readonly number[]
  /** Label of examples (or positions) to ignore, padding for instance. Not with `probabilities`. Default: none. */
  readonly ignoreIndex?: number
  /**
   * Number of examples (or positions) whose logits are in memory at once, for large vocabularies: the loss and its
   * gradients are computed chunk by chunk from the input of the last matrix product. 'auto': 64 positions, or more as
   * long as they have 2 million logits. The results are the same. Not with `probabilities`, in `combine`, or for second
   * derivatives. Default: all.
   */
  readonly chunk?: number | 'auto'
}

/**
 * Softmax cross-entropy from logits z, in nats: the weighted mean over all labels that are not ignored.
 *
 *     L = sum_i v_i l_i / sum_i v_i w[y_i]
 *     l = -(1 - s) w[y] log p[y] - s mean_c w[c] log p[c],   p = softmax(z)
 *
 * with label smoothing s, class weights w, and v the sample weight times the mask. For labels that are probabilities t:
 *
 *     L = sum_i v_i l_i / sum_i v_i
 *     l = -(1 - s) sum_c w[c] t[c] log p[c] - s mean_c w[c] log p[c]
 *
 * Both follow PyTorch's cross_entropy (https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html).
 * IRE samples labels from softmax(z).
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 * @example
 * ```ts
 * const trainer = await Trainer.create(model, { runtime, loss: crossEntropy({ labelSmoothing: 0.1 }), optimizer: adamw() })
 * ```
 */
export function crossEntropy(options: CrossEntropyOptions = {}): Loss {
  const own = ['logits', 'labels', 'axis', 'probabilities', 'labelSmoothing', 'classWeights', 'ignoreIndex', 'chunk']
  checkLossNames('crossEntropy', options, own)
  const { labelSmoothing = 0, classWeights, probabilities = false, ignoreIndex, labels = 'labels' } = options
  checkNumber('crossEntropy', 'labelSmoothing', labelSmoothing, belowOne)
  checkNonNegativeList('crossEntropy', 'classWeights', classWeights)
  if (probabilities && ignoreIndex !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      "crossEntropy: option 'ignoreIndex' is a class number, but with 'probabilities' labels are none; use 'mask' to ignore targets",
    )
  const { chunk } = options
  if (chunk !== undefined && chunk !== 'auto') checkNumber('crossEntropy', 'chunk', chunk, positiveCount)
  if (probabilities && chunk !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      "crossEntropy: option 'chunk' needs labels that are class numbers: with 'probabilities' they are as large as the logits",
    )
  return {
    name: 'cross-entropy',
    build(outputs) {
      const scores = findClassScores(outputs, options.logits, options.axis, 'crossEntropy')
      return probabilities
        ? buildSoftLabelLoss(scores, labels, options, 'crossEntropy')
        : chunk === undefined
          ? buildLabelLoss(scores, labels, options)
          : buildChunkedLoss(scores, labels, { ...options, chunk })
    },
  }
}

/** Builds the labels of the data, with the weights of their losses. */
export function weighLabels(
  scores: ClassScores,
  name: string,
  options: Pick<CrossEntropyOptions, 'labelSmoothing' | 'ignoreIndex' | 'classWeights' | keyof LossWeightOptions>,
  loss: string,
) {
  const { labelSmoothing = 0, ignoreIndex } = options
  const { z, axis, shape } = scores
  const given = input(name, 'int64', shape.toSpliced(axis, 1))
  const notIgnored = ignoreIndex === undefined ? null : op.Not(op.Equal(given, scalar('int64', ignoreIndex)))
  const weighting = weighTargets(given, z, options, loss, notIgnored)
  const { mask, weights: targetWeights, count } = weighting
  const labels = mask ? op.Where(mask, given, scalar('int64', 0)) : given
  const classWeights = classWeightsConstant(options.classWeights, scores, loss)
  const labelWeights = classWeights && op.Gather(classWeights, labels) // w[y]
  const weights = multiplyOptional(labelWeights, targetWeights)
  const all = { weights, count, total: labelWeights && weights ? sum(weights) : weighting.total }
  return {
    labels,
    labelWeights,
    classWeights,
    /** Weights of the losses of hard labels, which contain those of the classes. */
    all,
    /** Weights of `labelLosses`, in which smoothed labels contain the weights of the classes. */
    lossWeights: labelSmoothing === 0 ? all : { ...all, weights: targetWeights },
    graph: {
      targets: targetInputs(given, weighting, loss),
      labels: new Map([[name, { classes: shape[axis] ?? unknownDim(), ignoreIndex }]]),
      ...countAndWeight(all),
    },
    comparison: { kind: 'classes', logits: z, axis, labels: given, mask } as const,
  }
}

/** Loss of every label: -log p[label], or with smoothing -(1 - s) w[y] log p[y] - s mean_c w[c] log p[c]. */
function labelLosses(
  scores: Pick<ClassScores, 'logP' | 'axis' | 'shape'>,
  nll: Value,
  weights: { readonly labelWeights: Value | null; readonly classWeights: Value | null },
  { labelSmoothing = 0 }: CrossEntropyOptions,
): Value {
  if (labelSmoothing === 0) return nll
  const { logP, axis } = scores
  const { labelWeights, classWeights } = weights
  const spread = classWeights ? op.Mul(logP, broadcastAlongClasses(classWeights, scores)) : logP
  const certain = op.Mul(labelWeights ? op.Mul(nll, labelWeights) : nll, 1 - labelSmoothing)
  return op.Sub(certain, op.Mul(op.ReduceMean(spread, [axis], { keepdims: 0 }), labelSmoothing))
}

/** Builds the cross-entropy against class numbers. */
function buildLabelLoss(scores: ClassScores, name: string, options: CrossEntropyOptions): LossGraph {
  const { labels, all, lossWeights, graph, comparison, ...weights } = weighLabels(scores, name, options, 'crossEntropy')
  const nll = negativeLogLikelihood(scores, labels)
  return {
    ...graph,
    loss: weightedMean(labelLosses(scores, nll, weights, options), lossWeights),
    predictions: new Map([['', comparison]]),
    sampled: sampleLabels(scores, name, all),
  }
}

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

/**
 * Builds the cross-entropy against class numbers with the logits of a chunk of positions at a time.
 * @param term added to the loss, but not to that of sampled labels
 */
export function buildChunkedLoss(
  given: ClassScores,
  name: string,
  options: CrossEntropyOptions & { readonly chunk: number | 'auto' },
  term?: ChunkTerm,
): LossGraph {
  const { axis, shape } = given
  const classes = shape[axis]
  if (axis !== shape.length - 1)
    throw new OnnxIreError(
      'invalid-option',
      "crossEntropy: option 'chunk' needs logits whose classes are along the last axis",
    )
  if (options.chunk === 'auto' && typeof classes !== 'number')
    throw new OnnxIreError(
      'invalid-option',
      `crossEntropy: the number of classes is '${classes}': set option 'chunk' to a number`,
    )
  const head = findScoreHead(given.logits)
  const size = options.chunk === 'auto' ? automaticChunk(classes as number) : options.chunk
  const { labels, all, lossWeights, graph, comparison, labelWeights, classWeights } = weighLabels(
    given,
    name,
    options,
    'crossEntropy',
  )
  const noise = input(`noise/${name}`, given.z.dtype, labels.shape)
  const present = (values: readonly (Value | null)[]) => values.filter((value) => value !== null)

  /** The mean of `labelLosses` over chunks, for labels that `choose` selects. */
  const chunked = (
    active: ReadonlySet<Value>,
    perPosition: readonly Value[],
    weights: Value | null,
    total: Value,
    choose: (softmax: ChunkSoftmax, perPosition: readonly Value[]) => Omit<ChunkLabels, 'softmax' | 'weight'>,
    added?: ChunkTerm,
  ) =>
    sumOverChunks(
      {
        head,
        size,
        perPosition: [...perPosition, ...present([weights])],
        ...(added && { others: added.others ?? [], perRow: added.perRow ?? [] }),
        build: (chunk) => {
          const { z, perPosition: slices, isPosition } = chunk
          const softmax = softmaxOfChunk(z)
          const weight = op.Div(weights ? op.Mul(slices.at(-1)!, isPosition) : isPosition, total)
          const labelWeight = added ? op.Mul(weight, added.labelShare) : weight
          const own = chunkLoss({ softmax, weight: labelWeight, ...choose(softmax, slices) })
          if (!added) return own
          const { loss, dz } = added.build(chunk, weight)
          return { loss: op.Add(own.loss, loss), dz: op.Add(own.dz, dz), results: own.results }
        },
      },
      [...head.features, ...head.shared].filter((x) => active.has(x)),
    )

  const { labelSmoothing = 0 } = options
  const build = (active: ReadonlySet<Value>): LossGraph => {
    const given = present([labels, labelSmoothing > 0 ? labelWeights : null])
    const plain = chunked(
      active,
      given,
      lossWeights.weights,
      oneIfZero(all.total),
      (_, [y, w]) => ({
        labels: y!,
        smoothing:
          labelSmoothing === 0 ? null : { share: labelSmoothing, labelWeights: labelWeights && w!, classWeights },
      }),
      term,
    )
    const [predicted, nll] = plain.results
    const divisor = all.weights ? op.Sqrt(oneIfZero(op.Mul(all.count, all.total))) : all.count
    const sampled = chunked(active, [noise], all.weights && op.Sqrt(all.weights), divisor, (softmax, [u]) => ({
      labels: sampleByInverse(softmax.e, 1, u!, op.Squeeze(softmax.sum, [1])),
      smoothing: null,
    }))
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

/**
 * Samples labels by uniform noise u: the number of classes whose cumulative share is at most u. This needs a random
 * number per position, where the arg-max of scores plus Gumbel noise would need one per class.
 * @param e shares of the classes, times any factor
 * @param total the sum of `e` over the classes, of the shape of `u`
 */
function sampleByInverse(e: Value, axis: number, u: Value, total?: Value): Value {
  const bound = op.Unsqueeze(total ? op.Mul(u, total) : u, [axis])
  const below = op.LessOrEqual(op.CumSum(e, scalar('int64', axis)), bound)
  const count = op.ReduceSum(op.CastLike(below, e), [axis], { keepdims: 0 })
  // The cumulative sum rounds differently than the sum.
  const last = op.Sub(op.Gather(op.Shape(e), scalar('int64', axis)), 1)
  return op.Min([op.Cast(count, { to: dtypes.int64.onnx }), last])
}

/** Options of `buildSoftLabelLoss`. */
interface SoftLabelOptions extends LossWeightOptions {
  readonly labelSmoothing?: number
  readonly classWeights?: readonly number[]
  /** Adds sum_c t log t, the negative entropy of the targets: KL divergence instead of cross-entropy. */
  readonly divergence?: boolean
}

/**
 * Builds the cross-entropy against distributions t over the classes: the mean of -(1 - s) sum_c w[c] t[c] log p[c] - s
 * mean_c w[c] log p[c]. Metrics compare with the class of the largest t, the first of equal ones.
 */
export function buildSoftLabelLoss(
  scores: ClassScores,
  name: string,
  options: SoftLabelOptions,
  loss: string,
): LossGraph {
  const { labelSmoothing = 0, divergence = false } = options
  const { z, logP, axis, shape } = scores
  const given = input(name, z.dtype, shape)
  const labels = op.ArgMax(given, { axis, keepdims: 0 })
  const weighting = weighTargets(labels, z, options, loss)
  const { mask, weights, count, total } = weighting
  const t = mask ? op.Where(op.Unsqueeze(mask, [axis]), given, 0) : given
  const classWeights = classWeightsConstant(options.classWeights, scores, loss)
  const weighted = (x: Value) => (classWeights ? op.Mul(x, broadcastAlongClasses(classWeights, scores)) : x)
  const sumOverClasses = (x: Value) => op.ReduceSum(x, [axis], { keepdims: 0 })

  const logRatio = divergence ? op.Sub(logP, safeLog(t)) : logP
  const certain = sumOverClasses(weighted(op.Mul(t, logRatio)))
  const mixed =
    labelSmoothing === 0
      ? certain
      : op.Add(
          op.Mul(certain, 1 - labelSmoothing),
          op.Mul(op.ReduceMean(weighted(logP), [axis], { keepdims: 0 }), labelSmoothing),
        )
  // The Hessian of a target's loss by z is sum_c w[c] t[c] times the Hessian of -log p of any one class.
  const curvature = classWeights && sumOverClasses(weighted(t))
  return {
    loss: weightedMean(op.Neg(mixed), { weights, count, total }),
    targets: targetInputs(given, weighting, loss),
    ...countAndWeight(weighting),
    predictions: new Map([['', { kind: 'classes', logits: z, axis, labels, mask }]]),
    sampled: sampleLabels(scores, name, { weights: multiplyOptional(curvature, weights), count, total }),
  }
}

/** log t, and 0 for t = 0, so that t log t is 0. */
const safeLog = (t: Value): Value => op.Log(op.Where(op.Greater(t, 0), t, 1))

/** Class scores of an output: unnormalized, softmax(z) is the distribution. */
export interface ClassScores {
  /** Scores in the model's precision. */
  readonly logits: Value
  readonly z: Value
  /** log softmax(z). */
  readonly logP: Value
  /** Axis of the classes, >= 0. */
  readonly axis: number
  readonly shape: Shape
}

/**
 * Finds the scores of an output, before a trailing Softmax or LogSoftmax, and the class axis.
 * Throws `invalid-option` if the output is not floating-point with a class axis, `invalid-shape` for an invalid axis.
 */
export function findClassScores(
  outputs: ReadonlyMap<string, Value>,
  name: string | undefined,
  axis: number | undefined,
  loss: string,
): ClassScores {
  let logits = skipIdentity(findOutput(outputs, name, loss))
  let classAxis = axis
  if (!isFloat(logits.dtype) || !logits.shape || logits.shape.length === 0)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: the logits are ${logits.dtype}${formatShape(logits.shape)}; they must be floating-point with a class axis`,
    )
  const rank = logits.shape.length
  const last = findLastArgument(logits, ['Softmax', 'LogSoftmax'])
  // Softmax preserves the shape; shape inference may have derived the shape of its output only.
  let { shape } = logits
  // A Softmax along another axis than the classes is part of the model.
  if (last && (classAxis === undefined || axisOf(classAxis, rank) === last.axis)) {
    classAxis = last.axis
    logits = last.argument
    shape = logits.shape ?? shape
  }
  const resolved = axisOf(classAxis ?? -1, rank)
  const z = toFullPrecision(logits)
  return { logits, z, logP: op.LogSoftmax(z, { axis: resolved }), axis: resolved, shape }
}

/** -log p[label] of every label. */
export const negativeLogLikelihood = ({ logP, axis }: ClassScores, labels: Value): Value =>
  op.Neg(op.Squeeze(op.GatherElements(logP, op.Unsqueeze(labels, [axis]), { axis }), [axis]))

/** Builds the loss against labels sampled from softmax(z). */
export function sampleLabels(
  scores: ClassScores,
  name: string,
  weights: SampleWeights,
): NonNullable<LossGraph['sampled']> {
  const { z, logP, axis } = scores
  const noise = input(
    `noise/${name}`,
    z.dtype,
    z.shape!.filter((_, other) => other !== axis),
  )
  const nll = negativeLogLikelihood(scores, sampleByInverse(op.Exp(logP), axis, noise))
  return {
    loss: sampledMean(nll, weights),
    noise: new Map([[noise.name!, { value: noise, distribution: 'uniform' }]]),
  }
}

/**
 * Class weights as a 1-D constant of the scores' type. Throws `invalid-option` if their number is not that of the
 * classes.
 */
export function classWeightsConstant(
  given: readonly number[] | undefined,
  { z, axis, shape }: ClassScores,
  loss: string,
): Value | null {
  if (given === undefined) return null
  const classes = shape[axis]
  if (typeof classes === 'number' && classes !== given.length)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: option 'classWeights' has ${given.length} numbers, but the model has ${classes} classes`,
    )
  return constant(tensorFrom(z.dtype, [given.length], given))
}

/** Reshapes numbers per class [C] so that they broadcast along the class axis. */
const broadcastAlongClasses = (weights: Value, { axis, shape }: Pick<ClassScores, 'axis' | 'shape'>): Value => {
  const following = Array.from({ length: shape.length - 1 - axis }, (_, i) => i + 1)
  return following.length === 0 ? weights : op.Unsqueeze(weights, following)
}
