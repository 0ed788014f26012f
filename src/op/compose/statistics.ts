import type { DType } from '../../ir/dtype.js'
import { constantNumber, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'
import { cast } from './cast.js'

/**
 * The sum or mean of x, with a known number of axes, over ascending axes >= 0. Trailing axes are reduced first, in a
 * separate node: onnxruntime's CPU provider takes up to twice as long if one node reduces axes on both sides of a
 * remaining axis. So is the last of several other axes: sums of all rows of [N, T, D] take two threads longer than one,
 * sums of the T rows of each example do not.
 */
export function reduceOver(
  reduce: typeof op.ReduceSum | typeof op.ReduceMean,
  x: Value,
  axes: readonly number[],
  keepdims: 0 | 1,
): Value {
  const rank = x.shape!.length
  const inside = axes.filter((axis, i) => axis - i === rank - axes.length)
  const outside = axes.slice(0, axes.length - inside.length)
  const steps = [inside, outside.slice(-1), outside.slice(0, -1)].filter(({ length }) => length > 0)
  return steps.reduce((sum, axes) => reduce(sum, axes, { keepdims }), x)
}

/** Views of tensors [N, C, ...] for computations per channel. */
interface Channels {
  /** A tensor of the shape of `x`, reshaped to [N, C, rest] if the number of axes is unknown. */
  flat(like: Value): Value
  /** The inverse of `flat`. */
  restored(flat: Value): Value
  /** [C] -> [C, 1 ...]: broadcasts against `flat(x)`. */
  column(perChannel: Value): Value
  /** The axes of `flat(x)` after the channel axis. */
  readonly spatial: readonly number[]
  /** Sums a tensor like `flat(x)` over everything but the channel: [C]. */
  perChannel(flat: Value): Value
  /** Averages a tensor like `flat(x)` over everything but the channel: [C]. */
  meanPerChannel(flat: Value): Value
}

export function channelsOf(x: Value): Channels {
  const spatial = x.shape ? x.shape.map((_, axis) => axis).slice(2) : [2]
  return {
    flat: (like) => (x.shape ? like : op.Reshape(like, [0, 0, -1])),
    restored: (flat) => (x.shape ? flat : op.Reshape(flat, op.Shape(x))),
    column: (perChannel) =>
      !perChannel.shape
        ? op.Reshape(perChannel, [-1, ...spatial.map(() => 1)])
        : spatial.length === 0
          ? perChannel
          : op.Unsqueeze(
              perChannel,
              spatial.map((axis) => axis - 1),
            ),
    spatial,
    perChannel: (flat) => reduceOver(op.ReduceSum, flat, [0, ...spatial], 0),
    meanPerChannel: (flat) => reduceOver(op.ReduceMean, flat, [0, ...spatial], 0),
  }
}

export const castLike = (x: Value, like: Value): Value => (x.dtype === like.dtype ? x : op.CastLike(x, like))

/** Number of elements of `x` per element of `statistic`, in the type of `x`, or in float32 for `divideByCount`. */
export function share(x: Value, statistic: Value): Value {
  const count = op.Div(op.Size(x), op.Size(statistic))
  const known = constantNumber(count)
  const dtype = typeOfCount(x.dtype, known)
  if (known !== undefined) return scalar(dtype, known)
  return dtype === x.dtype ? op.CastLike(count, x) : cast(count, dtype)
}

/** Type of a number of elements: float32 in place of float16 if the number may be above 65504, where float16 ends. */
export const typeOfCount = (dtype: DType, count = Number.POSITIVE_INFINITY): DType =>
  dtype === 'float16' && count > 65504 ? 'float32' : dtype

/** x / n in the type of n; the result has the type of x. */
export const divideByCount = (x: Value, n: Value): Value => castLike(op.Div(castLike(x, n), n), x)

/** x̂ = (x - mean) invStd with statistics over `axes`. */
export function standardize(x: Value, axes: readonly number[], epsilon: number): { xhat: Value; invStd: Value } {
  const centered = op.Sub(x, op.ReduceMean(x, axes, { keepdims: 1 }))
  const variance = op.ReduceMean(op.Mul(centered, centered), axes, { keepdims: 1 })
  const invStd = op.Reciprocal(op.Sqrt(op.Add(variance, epsilon)))
  return { xhat: op.Mul(centered, invStd), invStd }
}

/** x^(1/p) for x >= 0. The slope at 0 is taken as 0, as that of a norm of zeros, where the root alone has none. */
export function rootOf(x: Value, p: number): Value {
  const isZero = op.Equal(x, 0)
  const positive = op.Where(isZero, 1, x)
  return op.Where(isZero, 0, p === 2 ? op.Sqrt(positive) : op.Pow(positive, 1 / p))
}
