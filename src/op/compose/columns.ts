import { constant, internConstant, tensorFrom } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'
import type { WindowAxis } from '../window.js'
import { swapFirst } from './shape.js'

/*
 * Columns are the elements of each window (im2col). A convolution with unit-vector kernels extracts one tap per kernel:
 * this is faster than slicing and concatenating, and it supports strides, dilations and pads.
 */

/** Columns of each image: [N, C, ...] to [N, C * taps, ...windows]. */
export function columnsOfImages(
  x: Value,
  kernel: readonly number[],
  window: readonly WindowAxis[],
  channels: number,
): Value {
  if (isPointwise(kernel, window)) return takeStrided(x, window)
  return op.Conv(x, unitKernels(x, channels, kernel), { group: channels, ...slidingAttributes(window) })
}

/**
 * Columns of each channel over all images, which become an additional spatial axis: [N, C, ...] to [C, taps, N,
 * ...windows], with one spatial axis to [C, taps, N, 1, windows]. A convolution over two axes with constant kernels
 * would run in onnxruntime's blocked layout, with as many taps as fill a block: 1.06 to 2.4 times the time of the
 * gradient of weights.
 */
export function columnsOfChannels(x: Value, kernel: readonly number[], window: readonly WindowAxis[]): Value {
  if (isPointwise(kernel, window)) return swapFirst(takeStrided(x, window))
  if (kernel.length === 1) return columnsOfChannels(op.Unsqueeze(x, [2]), [1, ...kernel], [still, ...window])
  return op.Conv(imagesToSpatialAxis(x), unitKernels(x, 1, [1, ...kernel]), slidingAttributesOverImages(window))
}

/** Moves images to a spatial axis: [N, C, ...] to [C, 1, N, ...]. */
export const imagesToSpatialAxis = (x: Value): Value => op.Unsqueeze(swapFirst(x), [1])

/** Unit kernels [groups * taps, 1, ...kernel]: in every group, kernel t is 1 at tap t and 0 elsewhere. */
function unitKernels({ dtype }: Value, groups: number, kernel: readonly number[]): Value {
  return internConstant(`units ${dtype} ${groups} ${kernel}`, () => {
    const taps = sizeOf(kernel)
    const units = new Uint8Array(groups * taps * taps)
    for (let i = 0; i < groups * taps; i++) units[i * taps + (i % taps)] = 1
    return constant(tensorFrom(dtype, [groups * taps, 1, ...kernel], units))
  })
}

/** Attributes of Conv for a window. */
const slidingAttributes = (window: readonly WindowAxis[]) => ({
  strides: window.map(({ stride }) => stride),
  dilations: window.map(({ dilation }) => dilation),
  pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
})

/** Attributes of Conv for a window that slides over an additional first axis of images, one at a time. */
export const slidingAttributesOverImages = (window: readonly WindowAxis[]) => slidingAttributes([still, ...window])

/** An axis along which a window has one element. */
export const still: WindowAxis = { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }

const isPointwise = (kernel: readonly number[], window: readonly WindowAxis[]): boolean =>
  sizeOf(kernel) === 1 && window.every(({ before, after }) => before === 0 && after === 0)

/** Takes every stride-th element: x[:, :, ::stride, ...]. */
function takeStrided(x: Value, window: readonly WindowAxis[]): Value {
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
