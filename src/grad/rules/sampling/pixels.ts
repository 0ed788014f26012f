import { int64s } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { lengthAlong } from '../movement.js'

/** The length of an axis as an int64 scalar. */
export const scalarLength = (x: Value, axis: number): Value => op.Reshape(lengthAlong(x, axis), int64s([]))

/** 0, 1, ... n - 1 along `axis` of a tensor of `rank` axes whose other axes have length 1. */
export const countingAlong = (n: Value, axis: number, rank: number): Value =>
  op.Reshape(
    op.Range(0, n, 1),
    Array.from({ length: rank }, (_, other) => (other === axis ? -1 : 1)),
  )

/**
 * The pixels x[image, :, index_1, index_2, ...] of x [N, C, ...]: `image` and the indices broadcast against each other to
 * the shape of the result, behind which the channels come. Whole pixels are gathered from rows of channels, which
 * onnxruntime copies several times faster than elements.
 */
export function pixelsAt(x: Value, image: Value, indices: readonly Value[]): Value {
  const spatial = indices.map((_, axis) => axis + 2)
  const rows = op.Reshape(
    op.Transpose(x, { perm: [0, ...spatial, 1] }),
    op.Concat([int64s([-1]), lengthAlong(x, 1)], { axis: 0 }),
  )
  const row = indices.reduce((row, index, axis) => op.Add(op.Mul(row, scalarLength(x, axis + 2)), index), image)
  return op.Gather(rows, row)
}
