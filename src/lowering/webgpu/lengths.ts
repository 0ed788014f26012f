import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'

/** A shape, one that the host knows, as int32 of the device: as many ones as each length, added up. */
export function lengthsOf(x: Value, start: number, end: number): Value {
  const lengths = Array.from({ length: end - start }, (_, i) => lengthOf(x, start + i))
  return lengths.length === 0
    ? constant(tensorFrom('int32', [0], []))
    : lengths.length === 1
      ? lengths[0]!
      : op.Concat(lengths, { axis: 0 })
}

/** One length of `x`, int32 [1]. */
export function lengthOf(x: Value, axis: number): Value {
  const dim = x.shape?.[axisOf(axis, x.shape.length)]
  if (typeof dim === 'number') return constant(tensorFrom('int32', [1], [dim]))
  return op.ReduceSum(op.Expand(scalar('int32', 1), lengthAlong(x, axis)), [0], { keepdims: 1 })
}

/** 0, 1, 2 ... along an axis of `x`: int32 [length]. */
export function numbersAlong(x: Value, axis: number): Value {
  const dim = x.shape?.[axisOf(axis, x.shape.length)]
  return typeof dim === 'number' ? numbersTo(dim) : counted(lengthAlong(x, axis))
}

/** 0 .. length - 1, int32. */
export const numbersTo = (length: number): Value =>
  constant(
    tensorFrom(
      'int32',
      [length],
      Array.from({ length }, (_, i) => i),
    ),
  )

/** The same for a length that only the host knows, int64 [1]. */
export const counted = (length: Value): Value =>
  op.CumSum(op.Expand(scalar('int32', 1), length), scalar('int64', 0), { exclusive: 1 })
