import { constant, int64s, tensorFrom } from '../../../ir/leaf.js'
import type { Dim } from '../../../ir/shape.js'
import { isStatic, productOf } from '../../../ir/shape.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { swapFirst } from '../../../op/compose/shape.js'
import { op } from '../../../op/op.js'
import type { WindowAxis } from '../../../op/window.js'
import { extentOf } from '../../../op/window.js'
import { columnsOfChannels, columnsOfImages, slidingAttributesOverImages } from './columns.js'
import { imagesToSpatialAxis } from './groups.js'

// Measured on onnxruntime's CPU provider.
/** Largest number of taps for which columns are fastest. */
const MANY_TAPS = 15
/** Largest number of windows per image for which one product over all images is fastest. */
const MANY_WINDOWS = 512

/**
 * Gradient of Conv's weights [g m, c, ...]: dw[o, i, t] = sum over images and windows of dy[o, window] x[i, window at
 * tap t]. Four forms of this sum, each used for the shapes for which it was measured to be the fastest.
 */
export function weightGradient(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): Value {
  if (!isStatic(w.shape)) return weightGradientByConvolution(x, w, dy, window, group)
  const [outputs, c, ...kernel] = w.shape
  const taps = sizeOf(kernel)
  if (c === 1 && outputs === group && taps > 1 && hasDepthwiseForm(kernel, window))
    return op.Reshape(depthwiseWeightGradient(x, dy, window), w.shape)
  if (taps > MANY_TAPS) return weightGradientByConvolution(x, w, dy, window, group)
  const windows = productOf(dy.shape!.slice(2))
  // One product over all images needs images as a spatial axis, and Conv supports at most three.
  const apart = kernel.length > 2 || (typeof windows === 'number' && windows > MANY_WINDOWS)
  const m = outputs! / group
  return op.Reshape(
    apart
      ? overEachImage(columnsOfImages(x, kernel, window, c! * group), dy, group, m)
      : overAllImages(columnsOfChannels(x, kernel, window), dy, group, m, c! * taps),
    w.shape,
  )
}

/** Product over all images at once: [g, m, N windows] [g, c taps, N windows]^T. */
function overAllImages(columns: Value, dy: Value, group: number, m: number, rows: number): Value {
  if (group === 1) return op.Gemm(op.Reshape(swapFirst(dy), [m, -1]), op.Reshape(columns, [rows, -1]), { transB: 1 })
  return op.MatMul(
    op.Reshape(swapFirst(dy), [group, m, -1]),
    op.Transpose(op.Reshape(columns, [group, rows, -1]), { perm: [0, 2, 1] }),
  )
}

/** Sum of the products of each image: sum over N of [g, m, windows] [g, c taps, windows]^T. */
function overEachImage(columns: Value, dy: Value, group: number, m: number): Value {
  const rows = op.Reshape(columns, [0, group, (columns.shape![1] as number) / group, -1])
  const product = op.MatMul(op.Reshape(dy, [0, group, m, -1]), op.Transpose(rows, { perm: [0, 1, 3, 2] }))
  return op.ReduceSum(product, [0], { keepdims: 0 })
}

/**
 * Gradient of Conv's weights as a convolution of x with dy in which images act as channels, and strides and dilations
 * are swapped: [N, g c, ...] and [N, g m, ...] give [c, g m, taps]. It needs no static lengths.
 */
function weightGradientByConvolution(
  x: Value,
  w: Value,
  dy: Value,
  window: readonly WindowAxis[],
  group: number,
): Value {
  const product = op.Conv(channelsFirst(x, w, group), swapFirst(dy), {
    group,
    strides: window.map(({ dilation }) => dilation),
    dilations: window.map(({ stride }) => stride),
    pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
  })
  const dw = swapFirst(product)
  const exact = window.every(
    (axis, i) => (uncoveredElements(axis, x.shape![i + 2]!, dy.shape![i + 2]!) ?? axis.stride - 1) < axis.dilation,
  )
  const axes = window.map((_, i) => i + 2)
  return exact
    ? dw
    : op.Slice(
        dw,
        axes.map(() => 0),
        op.Shape(w, { start: 2 }),
        axes,
      )
}

/**
 * Number of elements at the end of the padded axis that no window covers; they would add a tap. Undefined if not
 * static.
 */
function uncoveredElements(axis: WindowAxis, length: Dim, windows: Dim): number | undefined {
  const extent = extentOf(axis)
  if (typeof length !== 'number' || typeof windows !== 'number' || typeof extent !== 'number') return undefined
  return length + (axis.before as number) + (axis.after as number) - extent - (windows - 1) * axis.stride
}

/** Moves channels to the front: [N, g c, ...] to [c, g N, ...]. */
function channelsFirst(x: Value, w: Value, group: number): Value {
  const swapped = swapFirst(x)
  if (group === 1) return swapped
  const spatial = Array<number>(x.shape!.length - 2).fill(0)
  if (w.shape![1] === 1) return op.Reshape(swapped, [1, -1, ...spatial])
  const c = op.Shape(w, { start: 1, end: 2 })
  const grouped = op.Reshape(x, op.Concat([int64s([0, group]), c, int64s([-1])], { axis: 0 }))
  return op.Reshape(
    op.Transpose(grouped, { perm: [2, 1, 0, 3] }),
    op.Concat([c, int64s([-1]), op.Shape(x, { start: 2 })], { axis: 0 }),
  )
}

/** Kernels with this many rows or columns, or more, use other forms. */
const MAX_KERNEL_LENGTH = 32

/**
 * Whether `depthwiseWeightGradient` applies: two spatial axes, the second with stride 1 and pads smaller than the
 * window.
 */
function hasDepthwiseForm(kernel: readonly number[], window: readonly WindowAxis[]): boolean {
  const [, columns] = window
  if (window.length !== 2 || columns?.stride !== 1 || kernel.some((length) => length >= MAX_KERNEL_LENGTH)) return false
  return [columns.before, columns.after].every((pad) => (pad as number) < (extentOf(columns) as number))
}

/**
 * Gradient of depthwise weights [C, 1, kh, kw] for two spatial axes. Tap (i, j) is the product of x shifted by i rows
 * and dy shifted back by j columns: kh + kw shifted copies and one matrix product over all images instead of kh kw
 * products.
 */
function depthwiseWeightGradient(x: Value, dy: Value, window: readonly WindowAxis[]): Value {
  const [rows, columns] = window as readonly [WindowAxis, WindowAxis]
  const [kh, kw] = [rows.kernel as number, columns.kernel as number]
  const still: WindowAxis = { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }
  const reach = (extentOf(columns) as number) - 1
  const back: WindowAxis = {
    ...columns,
    before: reach - (columns.before as number),
    after: reach - (columns.after as number),
  }
  // Kernel k is 1 at row k; in the second tensor it is 1 at column k from the end.
  const down = constant(tensorFrom(x.dtype, [kh, 1, 1, kh, 1], unitVectors(kh)))
  const across = constant(tensorFrom(x.dtype, [kw, 1, 1, 1, kw], unitVectors(kw, 'fromTheEnd')))
  const moved = op.Reshape(op.Conv(imagesToSpatialAxis(x), down, slidingAttributesOverImages([rows, still])), [
    0,
    kh,
    -1,
  ])
  const movedBack = op.Reshape(op.Conv(imagesToSpatialAxis(dy), across, slidingAttributesOverImages([still, back])), [
    0,
    kw,
    -1,
  ])
  return op.MatMul(moved, op.Transpose(movedBack, { perm: [0, 2, 1] }))
}

const unitVectors = (n: number, order?: 'fromTheEnd'): number[] =>
  Array.from({ length: n }, (_, k) =>
    Array.from({ length: n }, (_, at) => Number(at === (order ? n - 1 - k : k))),
  ).flat()
