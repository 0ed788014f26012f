import { constant, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { imagesToSpatialAxis, slidingAttributesOverImages, still } from '../../op/compose/columns.js'
import { sumOverImages } from '../../op/compose/image-scan.js'
import { reshapeLike } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'
import type { WindowAxis } from '../../op/window.js'
import { extentOf } from '../../op/window.js'

/** Kernels with more rows or columns use other forms. */
const maxKernelLength = 31

/**
 * Whether `depthwiseWeightGradient` applies: two spatial axes, the second with stride 1 and pads smaller than the
 * window.
 */
export function hasDepthwiseForm(kernel: readonly number[], window: readonly WindowAxis[]): boolean {
  const [, columns] = window
  if (window.length !== 2 || columns?.stride !== 1 || kernel.some((length) => length > maxKernelLength)) return false
  return [columns.before, columns.after].every((pad) => (pad as number) < (extentOf(columns) as number))
}

/**
 * Gradient of depthwise weights [C, 1, kh, kw] for two spatial axes. Tap (i, j) is the product of x shifted by i rows
 * and dy shifted back by j columns: kh + kw shifted copies and one matrix product over all images instead of kh kw
 * products.
 */
export function depthwiseWeightGradient(x: Value, dy: Value, window: readonly WindowAxis[]): Value {
  const [rows, columns] = window as readonly [WindowAxis, WindowAxis]
  const [kh, kw] = [rows.kernel as number, columns.kernel as number]
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

/** Whether `depthwiseWeightGradientPerImage` applies. onnxruntime's blocks have 16 channels or fewer. */
export const hasImageForm = (x: Value, dy: Value): boolean =>
  x.dtype === 'float32' &&
  x.shape!.length === 4 &&
  [...x.shape!.slice(1), ...dy.shape!.slice(2)].every((length) => typeof length === 'number' && length > 0) &&
  (x.shape![1] as number) % 16 === 0

/**
 * Gradient of depthwise weights [C, 1, kh, kw] for two spatial axes: the sum of a convolution of each image with its
 * gradient as kernels. Fast in blocked layout only.
 */
export function depthwiseWeightGradientPerImage(x: Value, w: Value, dy: Value, window: readonly WindowAxis[]): Value {
  const [channels, ...lengths] = x.shape!.slice(1) as [number, number, number]
  const windows = dy.shape!.slice(2) as number[]
  const kernel = window.map((axis) => axis.kernel as number)
  const before = window.map((axis) => axis.before as number)
  /** Elements beyond the image that the last window covers, negative if it ends inside. */
  const after = window.map(
    (axis, i) => (windows[i]! - 1) * axis.stride + (extentOf(axis) as number) - before[i]! - lengths[i]!,
  )
  const sums = sumOverImages(x, dy, {
    group: channels,
    strides: window.map(({ dilation }) => dilation),
    dilations: window.map(({ stride }) => stride),
    pads: [...before, ...after.map((length) => Math.max(length, 0))],
  })
  const inside = after.some((length) => length < 0)
  return reshapeLike(inside ? op.Slice(sums, [0, 0], kernel, [2, 3]) : sums, w)
}
