import { constant, tensorFrom } from '../../../ir/leaf.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import type { WindowAxis } from '../../../op/window.js'
import { imagesBehindChannels, swapFirst } from './groups.js'

/*
 * Columns are what every window sees. A convolution whose kernels are the unit vectors picks one tap each: faster than slicing
 * and joining, and it follows strides, dilations and pads by itself.
 */

/** Columns of each image: [N, C, ...] -> [N, C * taps, ...windows]. */
export function columnsOfImages(
  x: Value,
  kernel: readonly number[],
  window: readonly WindowAxis[],
  channels: number,
): Value {
  if (isPointwise(kernel, window)) return everyStride(x, window)
  const taps = sizeOf(kernel)
  const units = op.Reshape(op.Expand(unitKernels(x, [1], kernel), [channels, taps, 1, ...kernel]), [
    channels * taps,
    1,
    ...kernel,
  ])
  return op.Conv(x, units, { group: channels, ...slide(window) })
}

/** Columns of each channel over all images, which become a further spatial axis: [N, C, ...] -> [C, taps, N, ...windows]. */
export function columnsOfChannels(x: Value, kernel: readonly number[], window: readonly WindowAxis[]): Value {
  if (isPointwise(kernel, window)) return swapFirst(everyStride(x, window))
  return op.Conv(
    imagesBehindChannels(x),
    op.Reshape(unitKernels(x, [], kernel), [sizeOf(kernel), 1, 1, ...kernel]),
    slideOverImages(window),
  )
}

/** [...lead, taps, 1, ...kernel]: kernel t has a one at tap t. */
const unitKernels = (like: Value, lead: readonly number[], kernel: readonly number[]): Value => {
  const taps = sizeOf(kernel)
  const identity = Array.from({ length: taps * taps }, (_, i) => Number(i % (taps + 1) === 0))
  return constant(tensorFrom(like.dtype, [...lead, taps, 1, ...kernel], identity))
}

export const slide = (window: readonly WindowAxis[]) => ({
  strides: window.map(({ stride }) => stride),
  dilations: window.map(({ dilation }) => dilation),
  pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
})

/** The same with an axis of images before the others, one at a time. */
export const slideOverImages = (window: readonly WindowAxis[]) =>
  slide([{ kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }, ...window])

const isPointwise = (kernel: readonly number[], window: readonly WindowAxis[]): boolean =>
  sizeOf(kernel) === 1 && window.every(({ before, after }) => before === 0 && after === 0)

/** x[:, :, ::stride, ...] */
function everyStride(x: Value, window: readonly WindowAxis[]): Value {
  const strided = window.flatMap(({ stride }, i) => (stride > 1 ? [{ stride, axis: i + 2 }] : []))
  if (strided.length === 0) return x
  return op.Slice(
    x,
    strided.map(() => 0),
    strided.map(() => 2 ** 31 - 1),
    strided.map(({ axis }) => axis),
    strided.map(({ stride }) => stride),
  )
}
