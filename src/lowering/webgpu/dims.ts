import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'

/**
 * Some dims of a shape as int32 on the device. Unknown dims are sums of ones, because their lengths are known on the
 * host only.
 */
export function dimSizes(x: Value, start: number, end: number): Value {
  const lengths = Array.from({ length: end - start }, (_, i) => dimSize(x, start + i))
  return lengths.length === 0
    ? constant(tensorFrom('int32', [0], []))
    : lengths.length === 1
      ? lengths[0]!
      : op.Concat(lengths, { axis: 0 })
}

/** One dim of `x`, int32 [1]. */
export function dimSize(x: Value, axis: number): Value {
  const dim = x.shape?.[axisOf(axis, x.shape.length)]
  if (typeof dim === 'number') return constant(tensorFrom('int32', [1], [dim]))
  return op.ReduceSum(op.Expand(scalar('int32', 1), lengthAlong(x, axis)), [0], { keepdims: 1 })
}

/** Maximal number of elements of a result that becomes a constant. */
export const maxConstantElements = 2 ** 20

/** 0, 1 ... length - 1 for an axis of `x`: int32 [length]. */
export function rangeAlong(x: Value, axis: number): Value {
  const dim = x.shape?.[axisOf(axis, x.shape.length)]
  return typeof dim === 'number' ? range(dim) : dynamicRange(lengthAlong(x, axis))
}

/** 0, 1 ... length - 1 as an int32 constant. */
export const range = (length: number): Value =>
  constant(
    tensorFrom(
      'int32',
      [length],
      Array.from({ length }, (_, i) => i),
    ),
  )

/** 0, 1 ... length - 1, int32, for a length (int64 [1]) that is known on the host only. */
export const dynamicRange = (length: Value): Value =>
  op.CumSum(op.Expand(scalar('int32', 1), length), scalar('int64', 0), { exclusive: 1 })

/** All multi-indices of a tensor with these dims, in row-major order. */
export const allIndices = (lengths: readonly number[]): readonly (readonly number[])[] =>
  lengths.reduce<readonly (readonly number[])[]>(
    (all, length) => all.flatMap((one) => Array.from({ length }, (_, i) => [...one, i])),
    [[]],
  )
