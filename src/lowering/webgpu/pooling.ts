import { largestFloat32 } from '../../ir/dtype.js'
import { constant, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import { isStatic, productOf } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { poolingExpansions, samePads } from '../../op/compose/pooling.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { knownNumbers } from '../../op/contents.js'
import type { folding, pooling } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAttributes, type WindowAxis, windowOf, windowsAlong } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Lowerings } from '../lowering.js'
import { allIndices, dimSize, rangeAlong } from './dims.js'

interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
  readonly ceil_mode: number
  readonly storage_order: number
}

/**
 * The output Indices of MaxPool, int32: for every window the index of the first maximal element in the flattened tensor
 * (in column-major planes if `storage_order` is 1). Every tap of the kernel is compared with the maximum for all
 * windows at once.
 *
 * Throws `unsupported-operator` if the number of axes is unknown.
 */
function maxPoolIndices(x: Value, y: Value, attributes: PoolAttributes): Value {
  if (!x.shape || !y.shape)
    throw new OnnxIreError(
      'unsupported-operator',
      "MaxPool: its output Indices, which its gradient needs, has no WebGPU kernel, and cannot be computed without the number of axes of the input: declare the shape of the model's input, or run the model on the CPU",
    )
  const window = windowOf(attributes, attributes.kernel_shape, x.shape.slice(2))
  const before = window.map((axis, i) =>
    typeof axis.before === 'number' ? axis.before : padBefore(x, i, axis, attributes),
  )
  const padded = pad(x, window, attributes)
  const axes = window.map((_, i) => i + 2)
  const strides = window.map(({ stride }) => stride)
  const reach = axes.map((axis, i) => {
    const last = op.Sub(lengthAlong(y, axis), int64s([1]))
    return op.Add(op.Mul(last, int64s([strides[i]!])), int64s([1]))
  })
  const apart = axisStrides(x, attributes.storage_order === 1)
  const rows = axes.map((axis, i) => op.Sub(op.Mul(rangeAlong(y, axis), strides[i]!), before[i]!))
  let indices: Value | undefined
  for (const tap of allIndices(attributes.kernel_shape).toReversed()) {
    const starts = tap.map((at, i) => at * window[i]!.dilation)
    const ends = op.Concat(
      starts.map((start, i) => op.Add(reach[i]!, int64s([start]))),
      { axis: 0 },
    )
    const seen = op.Slice(padded, starts, ends, axes, strides)
    const here = rows
      .map((row, i) => op.Mul(op.Add(row, starts[i]!), apart[i]!))
      .map((row, i) =>
        op.Reshape(
          row,
          axes.map((_, other) => (other === i ? -1 : 1)),
        ),
      )
      .reduce((sum, row) => op.Add(sum, row))
    indices = indices ? op.Where(op.Equal(seen, y), here, indices) : here
  }
  const plane = axes.map((axis) => dimSize(x, axis)).reduce((size, length) => op.Mul(size, length))
  return op.Add(op.Expand(indices!, op.Shape(y)), op.Mul(planeNumbers(x), plane))
}

/** Pads x as far as the last window may reach; the last window starts before the end padding. */
function pad(x: Value, window: readonly WindowAxis[], { auto_pad, kernel_shape }: PoolAttributes): Value {
  const after = window.map((axis) => {
    const padding = typeof axis.after === 'number' ? axis.after : 0
    return Math.max(padding, 0) + (extentOf(axis) as number) + axis.stride
  })
  const known = window.map(({ before }) => before)
  const before = known.every((pad) => typeof pad === 'number')
    ? int64s(known)
    : samePads(x, int64s(kernel_shape), window, auto_pad).before
  const pads = op.Concat([int64s([0, 0]), before, int64s([0, 0, ...after])], { axis: 0 })
  // The lowest float32: padding is never the maximum.
  return op.Pad(x, pads, scalar(x.dtype, -largestFloat32))
}

/** Padding before a spatial axis of unknown length under SAME_UPPER or SAME_LOWER: int32 [1]. See `samePads`. */
function padBefore(x: Value, axis: number, { stride, ...window }: WindowAxis, { auto_pad }: PoolAttributes): Value {
  const length = dimSize(x, axis + 2)
  const lastStart = op.Mul(op.Div(op.Sub(length, 1), stride), stride)
  const total = op.Max([op.Sub(op.Add(lastStart, extentOf(window) as number), length), 0])
  const half = op.Div(total, 2)
  return auto_pad === 'SAME_UPPER' ? half : op.Sub(total, half)
}

/** Stride of each spatial axis within a plane, int32 [1]. */
function axisStrides(x: Value, columnMajor: boolean): readonly Value[] {
  const lengths = x.shape!.slice(2).map((_, i) => dimSize(x, i + 2))
  return lengths.map((_, axis) =>
    (columnMajor ? lengths.slice(0, axis) : lengths.slice(axis + 1)).reduce(
      (size, length) => op.Mul(size, length),
      scalar('int32', 1),
    ),
  )
}

/** Index of each plane of [N, C, ...]: int32 [N, C, 1 ...]. */
function planeNumbers(x: Value): Value {
  const behind = x.shape!.slice(2).map(() => 1)
  const of = (axis: number, shape: readonly number[]) => op.Reshape(rangeAlong(x, axis), [...shape, ...behind])
  return op.Add(op.Mul(of(0, [-1, 1]), dimSize(x, 1)), of(1, [1, -1]))
}

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
const minReducedElements = 256

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
    return typeof size === 'number' && size >= minReducedElements ? poolingExpansions.GlobalAveragePool(inputs) : null
  },
} satisfies Lowerings<typeof pooling>

const power = (x: Value, p: number): Value => (p === 1 ? x : p === 2 ? op.Mul(x, x) : op.Pow(x, p))

export const downlevelPools = {
  GlobalAveragePool: poolingExpansions.GlobalAveragePool,
  GlobalMaxPool: poolingExpansions.GlobalMaxPool,
} satisfies Lowerings<typeof pooling>
