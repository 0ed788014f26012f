import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { samePads } from '../../op/compose/padding.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAttributes, type WindowAxis, windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import { everyOf } from './every.js'
import { lengthOf, numbersAlong } from './lengths.js'

interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
  readonly ceil_mode: number
  readonly storage_order: number
}

/** Less than any element: padding is never the largest. */
const LOWEST = -3.4028234663852886e38

/**
 * MaxPool's Indices as int32: of every window the place of the first element that is as large as the largest, in the flat
 * tensor (each plane column by column where `storage_order` is 1). Every tap of the kernel is looked at for all windows at once.
 *
 * Throws `unsupported-operator` where not even the number of axes is known.
 */
export function largestPlaces(x: Value, y: Value, attributes: PoolAttributes): Value {
  if (!x.shape || !y.shape)
    throw new OnnxIreError(
      'unsupported-operator',
      `MaxPool: WebGPU does not tell where the largest elements are (its second output, which its gradient needs), and without the number of axes of its input it cannot be computed: declare the shape of the model's input, or run the model on the CPU`,
    )
  const window = windowOf(attributes, attributes.kernel_shape, x.shape.slice(2))
  const before = window.map((axis, i) =>
    typeof axis.before === 'number' ? axis.before : sameBefore(x, i, axis, attributes),
  )
  const padded = withPadding(x, window, attributes)
  const axes = window.map((_, i) => i + 2)
  const strides = window.map(({ stride }) => stride)
  const reach = axes.map((axis, i) => {
    const last = op.Sub(lengthAlong(y, axis), int64s([1]))
    return op.Add(op.Mul(last, int64s([strides[i]!])), int64s([1]))
  })
  const apart = neighbours(x, attributes.storage_order === 1)
  const rows = axes.map((axis, i) => op.Sub(op.Mul(numbersAlong(y, axis), strides[i]!), before[i]!))
  let places: Value | undefined
  for (const tap of everyOf(attributes.kernel_shape).toReversed()) {
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
    places = places ? op.Where(op.Equal(seen, y), here, places) : here
  }
  const plane = axes.map((axis) => lengthOf(x, axis)).reduce((size, length) => op.Mul(size, length))
  return op.Add(op.Expand(places!, op.Shape(y)), op.Mul(planesOf(x), plane))
}

/** As far as the last window may reach: it starts before the end padding. */
function withPadding(x: Value, window: readonly WindowAxis[], { auto_pad, kernel_shape }: PoolAttributes): Value {
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

/** Padding before an axis of space under SAME_UPPER or SAME_LOWER, where only a run tells its length: int32 [1]. See `samePads`. */
function sameBefore(x: Value, axis: number, { stride, ...window }: WindowAxis, { auto_pad }: PoolAttributes): Value {
  const length = lengthOf(x, axis + 2)
  const lastStart = op.Mul(op.Div(op.Sub(length, 1), stride), stride)
  const total = op.Max([op.Sub(op.Add(lastStart, extentOf(window) as number), length), 0])
  const half = op.Div(total, 2)
  return auto_pad === 'SAME_UPPER' ? half : op.Sub(total, half)
}

/** How far apart neighbours along each axis of space are in a plane, int32 [1]. */
function neighbours(x: Value, columnMajor: boolean): readonly Value[] {
  const lengths = x.shape!.slice(2).map((_, i) => lengthOf(x, i + 2))
  return lengths.map((_, axis) =>
    (columnMajor ? lengths.slice(0, axis) : lengths.slice(axis + 1)).reduce(
      (size, length) => op.Mul(size, length),
      scalar('int32', 1),
    ),
  )
}

/** The number of each plane of [N, C, ...], int32 [N, C, 1 ...]. */
function planesOf(x: Value): Value {
  const behind = x.shape!.slice(2).map(() => 1)
  const of = (axis: number, shape: readonly number[]) => op.Reshape(numbersAlong(x, axis), [...shape, ...behind])
  return op.Add(op.Mul(of(0, [-1, 1]), lengthOf(x, 1)), of(1, [1, -1]))
}
