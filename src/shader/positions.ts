import { constant, scalar, tensorFrom } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { dimsOf } from './types.js'

/**
 * The slices that index tuples select in x: their positions in x of shape [slices, elements of a slice].
 * @param indices one tuple along its last axis for each slice; negative ones count from the end
 * @param outer the number of leading axes that x and the indices share
 */
function slicesOf(x: Value, indices: Value, outer: number) {
  const dims = dimsOf(x)
  const shape = dimsOf(indices)
  const depth = shape.at(-1)!
  const places = shape.slice(0, -1)
  const lengths = dims.slice(outer, outer + depth)
  let position: Value = constant(tensorFrom(indices.dtype, places, batchStarts(places, outer, sizeOf(lengths))))
  for (const [i, length] of lengths.entries()) {
    const index = op.Reshape(op.Slice(indices, [i], [i + 1], [-1]), places)
    const counted = op.Where(op.Less(index, scalar(index.dtype, 0)), op.Add(index, scalar(index.dtype, length)), index)
    position = op.Add(position, op.Mul(counted, scalar(index.dtype, sizeOf(lengths.slice(i + 1)))))
  }
  const inner = dims.slice(outer + depth)
  const slices = sizeOf(dims.slice(0, outer + depth))
  return { position, places, inner, flat: op.Reshape(x, [slices, sizeOf(inner)]) }
}

/** The first slice of the batch element that a place belongs to. */
const batchStarts = (places: readonly number[], outer: number, size: number): number[] => {
  const within = sizeOf(places.slice(outer))
  return Array.from({ length: sizeOf(places) }, (_, i) => Math.floor(i / within) * size)
}

export function gatherSlices(x: Value, indices: Value, outer: number): Value {
  const { position, places, inner, flat } = slicesOf(x, indices, outer)
  return op.Reshape(op.Gather(flat, position, { axis: 0 }), [...places, ...inner])
}

export function scatterSlices(x: Value, indices: Value, updates: Value, reduction: string): Value {
  const { position, places, inner, flat } = slicesOf(x, indices, 0)
  const dims = [sizeOf(places), sizeOf(inner)] as const
  const rows = op.Expand(op.Reshape(position, [dims[0], 1]), dims)
  return op.Reshape(op.ScatterElements(flat, rows, op.Reshape(updates, dims), { axis: 0, reduction }), dimsOf(x))
}
