import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { cast } from './through.js'

/** 1 at the first of the largest elements along an axis, 0 elsewhere; int32. */
export function firstBest(x: Value, axis: number): Value {
  const best = cast(op.Equal(x, op.ReduceMax(x, [axis], { keepdims: 1 })), 'int32')
  const before = op.CumSum(best, scalar('int64', axis), { exclusive: 1 })
  return op.Mul(best, cast(op.Equal(before, 0), 'int32'))
}
