import type { Value } from '../ir/value.js'
import type { op } from '../op/op.js'

/**
 * The sum or mean of x, of a known number of axes, over axes >= 0 in ascending order. The last ones go first and in a node of
 * their own: onnxruntime's CPU provider takes up to twice as long where one node sums on both sides of an axis that stays.
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
  if (inside.length === 0 || outside.length === 0) return reduce(x, axes, { keepdims })
  return reduce(reduce(x, inside, { keepdims }), outside, { keepdims })
}
