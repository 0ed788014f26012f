import { type Dim, isStatic } from '../../../ir/shape.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import { extentOf, type WindowAxis } from '../../../op/window.js'
import { groupsTransposed } from './groups.js'

/**
 * The adjoint of x -> Conv(x, w): every window of `y` sends its gradient, times the weights, back to the elements it saw.
 * Only the spatial lengths of `x` are used. At stride 1 this is a convolution with the weights turned around, which
 * onnxruntime's CPU provider runs twice as fast as ConvTranspose.
 */
export function inputGradient(dy: Value, w: Value, window: readonly WindowAxis[], group: number, x: Value): Value {
  const tails = window.map((axis, i) => tailOf(axis, x.shape?.[i + 2], dy.shape?.[i + 2]))
  if (!tails.every((tail) => tail !== undefined)) return cropped(dy, w, window, group, x)
  return turnedPads(w, window, tails)
    ? op.Conv(dy, turned(w, group), { group, dilations: dilationsOf(window), pads: turnedPads(w, window, tails) })
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

/** How far the last window reaches beyond the end of x, below 0 where it leaves elements untouched; undefined when only a run tells. */
function tailOf(axis: WindowAxis, length: Dim | undefined, windows: Dim | undefined): number | undefined {
  const extent = extentOf(axis)
  if (typeof length === 'number' && typeof windows === 'number' && typeof extent === 'number') {
    return (windows - 1) * axis.stride + extent - (axis.before as number) - length
  }
  return axis.stride === 1 ? (axis.after as number) : undefined
}

/** Pads of the convolution with turned weights; undefined unless every stride is 1 and the pads are not negative. */
function turnedPads(w: Value, window: readonly WindowAxis[], tails: readonly number[]): readonly number[] | undefined {
  if (!isStatic(w.shape) || window.some(({ stride }) => stride !== 1)) return undefined
  const reach = window.map((axis) => (extentOf(axis) as number) - 1)
  const pads = [...beforeOf(window), ...tails].map((pad, i) => reach[i % reach.length]! - pad)
  return pads.every((pad) => pad >= 0) ? pads : undefined
}

/** [g m, c, ...] -> [g c, m, ...], every kernel read backwards. */
function turned(w: Value, group: number): Value {
  const axes = w.shape!.flatMap((length, axis) => (axis > 1 && length !== 1 ? [axis] : []))
  const transposed = groupsTransposed(w, group)
  if (axes.length === 0) return transposed
  const backwards = axes.map(() => -1)
  return op.Slice(
    transposed,
    backwards,
    axes.map(() => -(2 ** 31)),
    axes,
    backwards,
  )
}

/** Lengths known only at run time: as much as the windows can reach, cut to the length of x. */
function cropped(dy: Value, w: Value, window: readonly WindowAxis[], group: number, x: Value): Value {
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
