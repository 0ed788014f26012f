import { dtypes, isFloat } from '../ir/dtype.js'
import { constant, input, scalar, tensorFrom } from '../ir/leaf.js'
import { axisOf, formatShape, type Shape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import {
  findLastArgument,
  findLastFunction,
  findOutput,
  type LossGraph,
  skipIdentity,
  toFullPrecision,
} from './loss.js'
import {
  countAndWeight,
  type LossWeightOptions,
  multiplyOptional,
  type SampleWeights,
  sampledMean,
  sum,
  targetInputs,
  weighTargets,
} from './sample-weights.js'

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
 * Finds the scores of an output, before a trailing Softmax or LogSoftmax, and the class axis. Of probabilities that the
 * branches of an If compute, or that are means over other axes, the scores are the logarithms.
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
  const operators = ['Softmax', 'LogSoftmax']
  const last = findLastArgument(logits, operators)
  const trailing = last ? undefined : findLastFunction(logits, operators)
  // Softmax preserves the shape; shape inference may have derived the shape of its output only.
  let { shape } = logits
  const { axis: found } = last ?? trailing ?? {}
  // A Softmax along another axis than the classes is part of the model.
  if (found !== undefined && (classAxis === undefined || axisOf(classAxis, rank) === found)) {
    classAxis = found
    if (last) logits = last.argument
    else if (trailing?.operator === 'Softmax') logits = op.Log(op.Max([toFullPrecision(logits), leastProbability]))
    shape = logits.shape ?? shape
  }
  const resolved = axisOf(classAxis ?? -1, rank)
  const z = toFullPrecision(logits)
  return { logits, z, logP: op.LogSoftmax(z, { axis: resolved }), axis: resolved, shape }
}

/** In place of probabilities that are rounded to 0, whose logarithm is infinite. */
const leastProbability = 1e-30

/** Options of `crossEntropy` that change the weights of labels. */
export interface LabelOptions extends LossWeightOptions {
  readonly labelSmoothing?: number
  readonly ignoreIndex?: number
  readonly classWeights?: readonly number[]
}

/** Builds the labels of the data, with the weights of their losses. */
export function weighLabels(scores: ClassScores, name: string, options: LabelOptions, loss: string) {
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
export const broadcastAlongClasses = (weights: Value, { axis, shape }: Pick<ClassScores, 'axis' | 'shape'>): Value => {
  const following = Array.from({ length: shape.length - 1 - axis }, (_, i) => i + 1)
  return following.length === 0 ? weights : op.Unsqueeze(weights, following)
}

/**
 * Samples labels by uniform noise u: the number of classes whose cumulative share is at most u. This needs a random
 * number per position, where the arg-max of scores plus Gumbel noise would need one per class.
 * @param e shares of the classes, times any factor
 * @param total the sum of `e` over the classes, of the shape of `u`
 */
export function sampleByInverse(e: Value, axis: number, u: Value, total?: Value): Value {
  const bound = op.Unsqueeze(total ? op.Mul(u, total) : u, [axis])
  const below = op.LessOrEqual(op.CumSum(e, scalar('int64', axis)), bound)
  const count = op.ReduceSum(op.CastLike(below, e), [axis], { keepdims: 0 })
  // The cumulative sum rounds differently than the sum.
  const last = op.Sub(op.Gather(op.Shape(e), scalar('int64', axis)), 1)
  return op.Min([op.Cast(count, { to: dtypes.int64.onnx }), last])
}
