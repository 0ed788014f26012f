import type { DType } from '../../../ir/dtype.js'
import { constant, internConstant, tensorFrom } from '../../../ir/leaf.js'
import { type Dim, isStatic } from '../../../ir/shape.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { extentOf, type WindowAxis } from '../../../op/window.js'
import { transposeGroups } from './groups.js'

/**
 * Kernels of up to this many taps are flipped by a product with a permutation matrix: exact, and on onnxruntime's CPU
 * provider ten times as fast as a reversing Slice. Flipping dy and dx instead of w gains almost nothing more.
 */
const MANY_TAPS = 64

/**
 * Gradient of Conv with respect to its input: every window adds its gradient times the weights to the elements it
 * covers. Only the spatial lengths of `x` are used. At stride 1 this is a convolution with flipped kernels, which
 * onnxruntime's CPU provider runs twice as fast as ConvTranspose.
 */
export function inputGradient(dy: Value, w: Value, window: readonly WindowAxis[], group: number, x: Value): Value {
  const tails = window.map((axis, i) => tailOf(axis, x.shape?.[i + 2], dy.shape?.[i + 2]))
  if (!tails.every((tail) => tail !== undefined)) return transposeAndCrop(dy, w, window, group, x)
  return flippedPads(w, window, tails)
    ? op.Conv(dy, flipKernels(w, group), { group, dilations: dilationsOf(window), pads: flippedPads(w, window, tails) })
    : op.ConvTranspose(dy, w, {
        ...stepsOf(window, group),
        pads: [...beforeOf(window), ...tails.map((tail) => Math.max(0, tail))],
        output_padding: tails.map((tail) => Math.max(0, -tail)),
      })
}

const beforeOf = (window: readonly WindowAxis[]) => window.map(({ before }) => before as number)
const dilationsOf = (window: readonly WindowAxis[]) => window.map(({ dilation }) => dilation)
const stepsOf = (window: readonly WindowAxis[], group: number) => ({
  group,
  strides: window.map(({ stride }) => stride),
  dilations: dilationsOf(window),
})

/**
 * Elements by which the last window exceeds x, negative if it leaves elements uncovered; undefined if known only at
 * run time.
 */
function tailOf(axis: WindowAxis, length: Dim | undefined, windows: Dim | undefined): number | undefined {
  const extent = extentOf(axis)
  if (typeof length === 'number' && typeof windows === 'number' && typeof extent === 'number') {
    return (windows - 1) * axis.stride + extent - (axis.before as number) - length
  }
  return axis.stride === 1 ? (axis.after as number) : undefined
}

/** Pads of the convolution with flipped kernels; undefined unless every stride is 1 and no pad is negative. */
function flippedPads(w: Value, window: readonly WindowAxis[], tails: readonly number[]): readonly number[] | undefined {
  if (!isStatic(w.shape) || window.some(({ stride }) => stride !== 1)) return undefined
  const reach = window.map((axis) => (extentOf(axis) as number) - 1)
  const pads = [...beforeOf(window), ...tails].map((pad, i) => reach[i % reach.length]! - pad)
  return pads.every((pad) => pad >= 0) ? pads : undefined
}

/** Flips every kernel and swaps channels: [g m, c, ...] to [g c, m, ...]. */
function flipKernels(w: Value, group: number): Value {
  const transposed = transposeGroups(w, group)
  const shape = transposed.shape as readonly number[]
  const taps = sizeOf(shape.slice(2))
  if (taps === 1) return transposed
  if (taps <= MANY_TAPS)
    return op.Reshape(op.MatMul(op.Reshape(transposed, [-1, taps]), reversalMatrix(w.dtype, taps)), shape)
  const axes = shape.flatMap((length, axis) => (axis > 1 && length !== 1 ? [axis] : []))
  const backwards = axes.map(() => -1)
  return op.Slice(
    transposed,
    backwards,
    axes.map(() => -(2 ** 31)),
    axes,
    backwards,
  )
}

/** Matrix that reverses rows of `taps` elements: ones on the antidiagonal. */
const reversalMatrix = (dtype: DType, taps: number): Value =>
  internConstant(`reversal ${dtype} ${taps}`, () => {
    const ones = Array.from({ length: taps ** 2 }, (_, i) => Number((i % taps) + Math.floor(i / taps) === taps - 1))
    return constant(tensorFrom(dtype, [taps, taps], ones))
  })

/** Input gradient for lengths known only at run time: the largest possible extent, cropped to the length of x. */
function transposeAndCrop(dy: Value, w: Value, window: readonly WindowAxis[], group: number, x: Value): Value {
  const whole = op.ConvTranspose(dy, w, {
    ...stepsOf(window, group),
    pads: [...beforeOf(window), ...window.map(() => 0)],
    output_padding: window.map(({ stride, after }) => Math.max(0, stride - 1 - (after as number))),
  })
  const axes = window.map((_, i) => i + 2)
  return op.Slice(
    whole,
    axes.map(() => 0),
    op.Shape(x, { start: 2 }),
    axes,
  )
}
