import { constant, int64s, tensorFrom } from '../../../ir/leaf.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import type { WindowAxis } from '../../../op/window.js'
import { inputGradient } from '../convolution/input.js'
import { withKnownPadding } from '../convolution/padding.js'

/**
 * Adjoint of summing over windows: every element of `x` receives the sum of `dy` over the windows that cover it.
 */
export function spreadOverWindows(dy: Value, window: readonly WindowAxis[], autoPad: string, x: Value): Value {
  const kernel = window.map(({ kernel }) => kernel as number)
  const [dx] = withKnownPadding(x, int64s(kernel), window, autoPad, (x, window) => [
    window.every(isDense)
      ? sumOverDense(dy, window)
      : op.Reshape(inputGradient(images(dy), onesKernel(dy, kernel), window, 1, x), op.Shape(x)),
  ])
  return dx
}

/** Merges channels into the batch axis, so that one kernel serves any number of channels. */
const images = (dy: Value): Value =>
  op.Reshape(dy, op.Concat([int64s([-1, 1]), op.Shape(dy, { start: 2 })], { axis: 0 }))

/** Kernel of ones, which sums over a window. */
export const onesKernel = (like: Value, kernel: readonly number[]): Value =>
  constant(tensorFrom(like.dtype, [1, 1, ...kernel], Array<number>(sizeOf(kernel)).fill(1)))

const isDense = ({ kernel, stride, dilation, before, after }: WindowAxis): boolean =>
  stride === 1 && dilation === 1 && [before, after].every((pad) => (pad as number) < (kernel as number))

/**
 * Spreading at stride 1: the windows that cover an element form a window themselves, and their sum is their average
 * times their number.
 */
function sumOverDense(dy: Value, window: readonly WindowAxis[]): Value {
  const kernel = window.map(({ kernel }) => kernel as number)
  const left = (pad: 'before' | 'after') => window.map((axis, i) => kernel[i]! - 1 - (axis[pad] as number))
  return op.Mul(
    op.AveragePool(dy, { kernel_shape: kernel, pads: [...left('before'), ...left('after')], count_include_pad: 1 }),
    sizeOf(kernel),
  )
}
