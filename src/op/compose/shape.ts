import { dtypes } from '../../ir/dtype.js'
import { int64s } from '../../ir/leaf.js'
import { axisOf, isStatic, unknownDim } from '../../ir/shape.js'
import { refineShape, type Value } from '../../ir/value.js'
import { op } from '../op.js'

/** `dy` in the shape of `x`; a dim of 0 means 0, not "copy". */
export function reshapeLike(dy: Value, x: Value): Value {
  const whole = isStatic(x.shape) && !x.shape.includes(0)
  return op.Reshape(dy, op.Shape(x), whole ? {} : { allowzero: 1 })
}

/** One dim of `x` as an int64 tensor [1]; `axis` may be negative. */
export function lengthAlong(x: Value, axis: number): Value {
  if (x.shape === undefined) return op.Gather(op.Shape(x), [axis])
  const start = axisOf(axis, x.shape.length)
  return op.Shape(x, { start, end: start + 1 })
}

/** One dim of `x` as an int64 scalar. */
export const scalarLength = (x: Value, axis: number): Value => op.Reshape(lengthAlong(x, axis), int64s([]))

/** 0, 1 ... n - 1 along `axis` of a tensor with `rank` axes; all other axes have length 1. */
export const rangeAlongAxis = (n: Value, axis: number, rank: number): Value =>
  op.Reshape(
    op.Range(0, n, 1),
    Array.from({ length: rank }, (_, other) => (other === axis ? -1 : 1)),
  )

/** Vectors one after the other, such as the parts of a shape. */
export const concat = (parts: readonly Value[]): Value => op.Concat(parts, { axis: 0 })

/** `x` with `rank` axes, which its use requires, if inference lost their number. */
export function withRank(x: Value, rank: number | undefined): Value {
  if (x.shape || rank === undefined) return x
  const same = op.Identity(x)
  refineShape(same, Array.from({ length: rank }, unknownDim))
  return same
}

const swapFirstTwo = (rank: number) => [1, 0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2)]

/** [a, b, ...] -> [b, a, ...] */
export const swapFirst = (x: Value): Value => op.Transpose(x, { perm: swapFirstTwo(x.shape!.length) })

/** 1 where `mask` is true, else 0, in the type of `like`. */
export const indicator = (mask: Value, like: Value): Value => op.Cast(mask, { to: dtypes[like.dtype].onnx })

/**
 * `dy` where `mask` is true, else 0. A product takes onnxruntime's CPU provider 0.7 to 0.8 times as long as Where, for
 * masks as large as `dy`. It would be NaN where an infinite `dy` is masked: sqrt(relu(x)) has such slopes.
 */
export const applyMask = (dy: Value, mask: Value): Value =>
  mayBeInfinite(dy) ? op.Where(mask, dy, 0) : op.Mul(dy, indicator(mask, dy))

/**
 * Whether `dy` is a gradient of an operator whose slope is infinite at the border of its domain (Sqrt, Pow, Acos ...):
 * a quotient or power, or a product of one.
 */
function mayBeInfinite({ source }: Value, depth = 2): boolean {
  if (source.kind !== 'node') return false
  if (source.operator === 'Div' || source.operator === 'Pow') return true
  const isProduct = source.operator === 'Mul' || source.operator === 'Neg'
  return isProduct && depth > 0 && source.inputs.some((x) => x !== null && mayBeInfinite(x, depth - 1))
}
