import { constantNumber, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'

export const as = (x: Value, like: Value): Value => (x.dtype === like.dtype ? x : op.CastLike(x, like))

/** How many elements of `x` share one element of `statistic`, in the type of `x`. */
export function share(x: Value, statistic: Value): Value {
  const count = op.Div(op.Size(x), op.Size(statistic))
  const known = constantNumber(count)
  return known === undefined ? op.CastLike(count, x) : scalar(x.dtype, known)
}

/** x̂ = (x - mean) invStd with statistics over `axes`. */
export function standardized(x: Value, axes: readonly number[], epsilon: number): { xhat: Value; invStd: Value } {
  const centered = op.Sub(x, op.ReduceMean(x, axes, { keepdims: 1 }))
  const variance = op.ReduceMean(op.Mul(centered, centered), axes, { keepdims: 1 })
  const invStd = op.Reciprocal(op.Sqrt(op.Add(variance, epsilon)))
  return { xhat: op.Mul(centered, invStd), invStd }
}

/** Of x̂: dx = invStd (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)). */
export function standardizedGradient(xhat: Value, invStd: Value, dxhat: Value, axes: readonly number[]): Value {
  const mean = (x: Value) => op.ReduceMean(x, axes, { keepdims: 1 })
  return op.Mul(invStd, op.Sub(op.Sub(dxhat, mean(dxhat)), op.Mul(xhat, mean(op.Mul(dxhat, xhat)))))
}
