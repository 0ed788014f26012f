import { scalar } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { normalizationExpansions } from '../../op/compose/normalization.js'
import { softmaxExpansions } from '../../op/compose/softmax.js'
import { channelsOf, standardize } from '../../op/compose/statistics.js'
import type { normalization } from '../../op/definitions/normalization.js'
import type { softmax } from '../../op/definitions/softmax.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** 1 at the first maximal element along an axis, 0 elsewhere; int32. */
function argmaxOneHot(x: Value, axis: number): Value {
  const best = cast(op.Equal(x, op.ReduceMax(x, [axis], { keepdims: 1 })), 'int32')
  const before = op.CumSum(best, scalar('int64', axis), { exclusive: 1 })
  return op.Mul(best, cast(op.Equal(before, 0), 'int32'))
}

/** x - m - log(sum e^(x - m)), m = max(x) */
function logSoftmax(x: Value, axis: number): Value {
  const below = op.Sub(x, op.ReduceMax(x, [axis], { keepdims: 1 }))
  return op.Sub(below, op.Log(op.ReduceSum(op.Exp(below), [axis], { keepdims: 1 })))
}

export const softmaxLowerings = {
  LogSoftmax: ([x], { axis }) => logSoftmax(x, axis),
  Hardmax: ([x], { axis }) => cast(argmaxOneHot(x, axis), x.dtype),
  ...softmaxExpansions,
} satisfies Lowerings<typeof softmax>

/** BatchNormalization in training mode: y and the updated running mean and variance (of n elements, not n - 1). */
function normalizeBatch(
  [x, scale, bias, mean, variance]: readonly [Value, Value, Value, Value, Value],
  { epsilon, momentum }: { readonly epsilon: number; readonly momentum: number },
): readonly [Value, Value, Value] {
  const { flat, restored, column, spatial } = channelsOf(x)
  const axes = [0, ...spatial]
  const batch = (of: Value) => op.ReduceMean(of, axes, { keepdims: 1 })
  const center = batch(flat(x))
  const centered = op.Sub(flat(x), center)
  const spread = batch(op.Mul(centered, centered))
  const xhat = op.Div(centered, op.Sqrt(op.Add(spread, epsilon)))
  const moved = (old: Value, now: Value) => op.Add(op.Mul(old, momentum), op.Mul(op.Reshape(now, [-1]), 1 - momentum))
  return [restored(op.Add(op.Mul(xhat, column(scale)), column(bias))), moved(mean, center), moved(variance, spread)]
}

export const normalizationLowerings = {
  BatchNormalization: (inputs, attributes) => (attributes.training_mode ? normalizeBatch(inputs, attributes) : null),
  GroupNormalization: ([x, scale, bias], { epsilon, num_groups }) => {
    const { flat, restored, column } = channelsOf(x)
    const { xhat } = standardize(op.Reshape(x, [0, num_groups, -1]), [2], epsilon)
    const shaped = op.Reshape(xhat, op.Shape(flat(x)))
    return restored(op.Add(op.Mul(shaped, column(scale)), column(bias)))
  },
  ...normalizationExpansions,
} satisfies Lowerings<typeof normalization>

export const downlevelNormalizations = {
  // x / sqrt(mean(x²) + epsilon) scale
  RMSNormalization: ([x, scale], { axis, epsilon }) => {
    if (!x.shape) return null
    const first = axisOf(axis, x.shape.length)
    const axes = x.shape.map((_, at) => at).slice(first)
    const squares = op.ReduceMean(op.Mul(x, x), axes, { keepdims: 1 })
    return op.Mul(op.Div(x, op.Sqrt(op.Add(squares, epsilon))), scale)
  },
} satisfies Lowerings<typeof normalization>
