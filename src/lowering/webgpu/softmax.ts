import type { Value } from '../../ir/value.js'
import { softmaxExpansions } from '../../op/compose/softmax.js'
import type { softmax } from '../../op/definitions/softmax.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { firstBest } from './best.js'
import { cast } from './through.js'

/** x - m - log(sum e^(x - m)), m the largest */
function logSoftmax(x: Value, axis: number): Value {
  const below = op.Sub(x, op.ReduceMax(x, [axis], { keepdims: 1 }))
  return op.Sub(below, op.Log(op.ReduceSum(op.Exp(below), [axis], { keepdims: 1 })))
}

export const softmaxLowerings = {
  LogSoftmax: ([x], { axis }) => logSoftmax(x, axis),
  Hardmax: ([x], { axis }) => cast(firstBest(x, axis), x.dtype),
  ...softmaxExpansions,
} satisfies Lowerings<typeof softmax>
