import { dtypes } from '../ir/dtype.js'
import { int64s, scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import type { Comparison } from '../loss/loss.js'
import { cast } from '../op/compose/cast.js'
import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'

/** Comparison with a decision per target: one of several classes, or yes or no. */
export type DecisionComparison = Extract<Comparison, { kind: 'classes' | 'binary' }>

/** Whether a comparison has a decision per target. */
export const isDecision = (comparison: Comparison): comparison is DecisionComparison =>
  comparison.kind === 'classes' || comparison.kind === 'binary'

/** Decisions of a model with the true classes. */
export interface Decisions {
  /** Predicted class numbers, int64; 1 and 0 for yes and no. */
  readonly predicted: Value
  /** True class numbers, int64. */
  readonly actual: Value
  /** 1 per decision that counts, 0 per ignored one; floats. */
  readonly counted: Value
}

/**
 * Builds the decisions of a comparison: the class of the highest score, the first of equal ones; yes if sigmoid(z) >
 * threshold, and truly yes if the target is above 1/2. Ignored labels are replaced by 0.
 */
export function decide(comparison: DecisionComparison, threshold = 0.5): Decisions {
  const { logits, mask } = comparison
  const zero = scalar('int64', 0)
  const predicted =
    comparison.kind === 'binary'
      ? op.CastLike(op.Greater(logits, Math.log(threshold / (1 - threshold))), zero)
      : predictedClass(comparison)
  const labels =
    comparison.kind === 'binary' ? op.CastLike(op.Greater(comparison.targets, 0.5), zero) : comparison.labels
  const actual = mask ? op.Where(mask, labels, zero) : labels
  return { predicted, actual, counted: castTo(logits, mask ?? op.Equal(actual, actual)) }
}

/** Class of the highest score, the first of equal ones. */
export const predictedClass = ({ logits, axis, results }: Extract<Comparison, { kind: 'classes' }>): Value =>
  results?.predicted ?? op.ArgMax(logits, { axis, keepdims: 0 })

/** Casts to the type of `like`, which is not computed for it. */
export const castTo = (like: Value, x: Value): Value => cast(x, like.dtype)

/** Numbers of intervals, int64: the whole part of `x` within 0 .. bins - 1. 0 for NaN, whose cast indexes nothing. */
export const toBin = (x: Value, bins: number): Value =>
  op.Cast(op.Clip(op.Floor(op.Where(op.IsNaN(x), 0, x)), 0, bins - 1), { to: dtypes.int64.onnx })

/**
 * Examples with at least this many decisions are counted one by one. With fewer, a batch needs more than 4,000 examples
 * to have 2^24 decisions.
 */
const largeExample = 2 ** 12

/**
 * Adds up the weights of each of the numbers 0 .. bins - 1 among the decisions of a comparison: [bins]. Ones that are
 * added to a float32 of 2^24 do not change it, so images are counted one by one, and then their counts are added.
 */
export function histogram(numbers: Value, weights: Value, bins: number, comparison: DecisionComparison): Value {
  const zero = scalar(weights.dtype, 0)
  const targets = comparison.kind === 'binary' ? comparison.targets : comparison.labels
  if (!mayBeLarge(targets)) {
    const [indices, updates] = [numbers, weights].map((x) => op.Reshape(x, [-1]))
    return op.ScatterElements(op.Expand(zero, [bins]), indices!, updates!, { axis: 0, reduction: 'add' })
  }
  const examples = op.Shape(targets, { start: 0, end: 1 })
  const rowsOf = (length: number) => op.Concat([examples, int64s([length])], { axis: 0 })
  const [indices, updates] = [numbers, weights].map((x) => op.Reshape(x, rowsOf(-1)))
  const counts = op.ScatterElements(op.Expand(zero, rowsOf(bins)), indices!, updates!, { axis: 1, reduction: 'add' })
  return op.ReduceSum(counts, [0], { keepdims: 0 })
}

/** Whether examples may have many decisions: the number is large, or it depends on the size of an image. */
function mayBeLarge({ shape = [] }: Value): boolean {
  const positions = shape.slice(1)
  if (positions.some((dim) => typeof dim !== 'number')) return shape.length > 2
  return (positions as readonly number[]).reduce((a, b) => a * b, 1) >= largeExample
}

/**
 * Number of classes, needed for sums of static shape. Throws `invalid-option` if the model's class axis is symbolic.
 */
export function classCount({ logits, axis }: Extract<Comparison, { kind: 'classes' }>, metric: string): number {
  const classes = logits.shape?.[axis]
  if (typeof classes === 'number') return classes
  throw new OnnxIreError(
    'invalid-option',
    `${metric}: this metric needs a static number of classes, but the output's class axis is '${classes ?? 'unknown'}'; fix its length in the model, or measure accuracy`,
  )
}

/**
 * Number of columns of an output that are measured one by one: the labels or values of an example along the last axis,
 * if their number is known. 1 for images, whose last axis has pixels.
 */
export function columnCount({ shape = [] }: Value): number {
  const last = shape.at(-1)
  const hasColumns = shape.length === 2 || shape.length === 3
  return hasColumns && typeof last === 'number' ? last : 1
}

/** Sum of all elements that are not masked out. */
export const sumUnmasked = (x: Value, mask: Value | null): Value =>
  op.ReduceSum(mask ? op.Where(mask, x, 0) : x, { keepdims: 0 })

/** Number of elements of `x` that are not masked out, in the type of `like`. */
export const countUnmasked = (x: Value, mask: Value | null, like: Value): Value =>
  mask ? op.ReduceSum(castTo(like, mask), { keepdims: 0 }) : castTo(like, op.Size(x))

/** Throws `invalid-option` unless the threshold is in (0, 1). */
export function checkThreshold(owner: string, threshold: number): void {
  if (!(threshold > 0 && threshold < 1)) throw invalidOption(owner, 'threshold', threshold, 'a number in (0, 1)')
}
