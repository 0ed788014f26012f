import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { samePads } from '../../op/compose/padding.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAttributes, type WindowAxis, windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import { allIndices, dimSize, rangeAlong } from './dims.js'

interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
  readonly ceil_mode: number
  readonly storage_order: number
}

/** The lowest float32: padding is never the maximum. */
const LOWEST = -3.4028234663852886e38

/**
 * The output Indices of MaxPool, int32: for every window the index of the first maximal element in the flattened tensor
 * (in column-major planes if `storage_order` is 1). Every tap of the kernel is compared with the maximum for all
 * windows at once.
 *
 * Throws `unsupported-operator` if the number of axes is unknown.
 */
export function maxPoolIndices(x: Value, y: Value, attributes: PoolAttributes): Value {
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
  return op.Pad(x, pads, scalar(x.dtype, LOWEST))
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
