import { constant, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import { isStatic, productOf } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { poolingExpansions } from '../../op/compose/pooling.js'
import { knownNumbers } from '../../op/contents.js'
import type { folding, pooling } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import { type WindowAttributes, type WindowAxis, windowOf, windowsAlong } from '../../op/window.js'
import type { Lowerings } from '../lowering.js'
import { allIndices } from './dims.js'

import { maxPoolIndices } from './max-pool-indices.js'

/**
 * Adds the columns [N, C taps, windows] to the pixels of their windows; columns in the padding go to an extra pixel at
 * the end.
 */
function col2Im(x: Value, image: Value, block: Value, attributes: Omit<WindowAttributes, 'auto_pad'>): Value | null {
  const [lengths, kernel] = [knownNumbers(image), knownNumbers(block)]
  if (!lengths || !kernel) return null
  const window = windowOf({ ...attributes, auto_pad: 'NOTSET' }, kernel, lengths)
  const places = pixelIndices(lengths, kernel, window)
  const pixels = sizeOf(lengths)
  const columns = op.Reshape(op.Reshape(x, [0, -1, sizeOf(kernel), places.length / sizeOf(kernel)]), [
    0,
    0,
    places.length,
  ])
  const indices = op.Expand(constant(tensorFrom('int32', [places.length], places)), op.Shape(columns))
  const nothing = op.Expand(
    scalar(x.dtype, 0),
    op.Concat([op.Shape(columns, { end: 2 }), int64s([pixels + 1])], { axis: 0 }),
  )
  const sums = op.ScatterElements(nothing, indices, columns, { axis: 2, reduction: 'add' })
  return op.Reshape(op.Slice(sums, [0], [pixels], [2]), [0, 0, ...lengths])
}

/** Index in the flattened image of each tap of each window, taps first; the number of pixels for taps outside. */
function pixelIndices(
  lengths: readonly number[],
  kernel: readonly number[],
  window: readonly WindowAxis[],
): readonly number[] {
  const counts = lengths.map((length, axis) => windowsAlong(length, window[axis]!, 'NOTSET') as number)
  const outside = sizeOf(lengths)
  return allIndices(kernel).flatMap((tap) =>
    allIndices(counts).map((at) => {
      const pixel = at.map((i, axis) => {
        const { stride, dilation, before } = window[axis]!
        return i * stride + tap[axis]! * dilation - (before as number)
      })
      const inside = pixel.every((i, axis) => i >= 0 && i < lengths[axis]!)
      return inside ? pixel.reduce((place, i, axis) => place * lengths[axis]! + i, 0) : outside
    }),
  )
}

export const foldingLowerings = {
  Col2Im: ([x, image, block], attributes) => col2Im(x, image, block, attributes),
  MaxUnpool: ([x, indices, to], attributes) => {
    const { shape } = op.MaxUnpool(x, indices, to, attributes)
    if (!isStatic(shape)) return null
    const nothing = op.Expand(scalar(x.dtype, 0), [sizeOf(shape)])
    return op.Reshape(op.ScatterElements(nothing, op.Reshape(indices, [-1]), op.Reshape(x, [-1])), shape)
  },
} satisfies Lowerings<typeof folding>

/** Number of elements from which ReduceMean, which shares a sum among threads, is used. */
const LARGE_PLANE = 256

export const poolingLowerings = {
  MaxPool: ([x], attributes, { isUsed }) => {
    // onnxruntime rejects storage_order 1 even if Indices is unused, where it makes no difference.
    if (!isUsed(1)) return attributes.storage_order === 0 ? null : op.MaxPool(x, { ...attributes, storage_order: 0 })
    const [y] = op.MaxPool(x, { ...attributes, storage_order: 0 })
    return [y, maxPoolIndices(x, y, attributes)]
  },
  // (sum |x|^p)^(1/p): the sum is the mean, padding included, times the number of taps.
  LpPool: ([x], { p, ceil_mode, ...window }) => {
    if (ceil_mode) return null
    const powers = op.AveragePool(power(op.Abs(x), p), { ...window, count_include_pad: 1 })
    const sums = op.Mul(powers, sizeOf(window.kernel_shape))
    return p === 1 ? sums : p === 2 ? op.Sqrt(sums) : op.Pow(sums, 1 / p)
  },
  GlobalLpPool: poolingExpansions.GlobalLpPool,
  // GlobalAveragePool's kernel sums each plane in a single thread.
  GlobalAveragePool: (inputs) => {
    const size = productOf(inputs[0].shape?.slice(2) ?? [])
    return typeof size === 'number' && size >= LARGE_PLANE ? poolingExpansions.GlobalAveragePool(inputs) : null
  },
} satisfies Lowerings<typeof pooling>

const power = (x: Value, p: number): Value => (p === 1 ? x : p === 2 ? op.Mul(x, x) : op.Pow(x, p))

export const downlevelPools = {
  GlobalAveragePool: poolingExpansions.GlobalAveragePool,
  GlobalMaxPool: poolingExpansions.GlobalMaxPool,
} satisfies Lowerings<typeof pooling>
