import { constant, int64s, scalar, tensorFrom } from '../../../ir/leaf.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import type { WindowAxis } from '../../../op/window.js'
import { onesKernel } from './spread.js'

/** Largest total number of taps along an axis that is counted when the graph is built. */
const MANY_TAPS = 2 ** 20

interface Counting {
  readonly window: readonly WindowAxis[]
  readonly ceil: boolean
  readonly includePad: boolean
  /** Pads a tensor of ones, if padding is a separate node. */
  readonly pad: ((ones: Value) => Value) | undefined
}

/**
 * Divisor of AveragePool: the number of taps of a window on x, or with `includePad` on x and its padding. It is a
 * scalar if all windows have the same number; otherwise it broadcasts to `dy`.
 */
export function averagePoolDivisor(x: Value, dy: Value, { window, ceil, includePad, pad }: Counting): Value {
  const kernel = window.map(({ kernel }) => kernel as number)
  const padded = pad !== undefined || window.some(({ before, after }) => before !== 0 || after !== 0)
  const overhangs = ceil && window.some(({ stride }) => stride > 1)
  if (!overhangs && (includePad || !padded)) return scalar(dy.dtype, sizeOf(kernel))
  if (pad) return countAtRunTime(x, dy, window, includePad, pad)
  const counts = window.map((axis, i) => countsAlong(axis, x.shape?.[i + 2], dy.shape?.[i + 2], includePad))
  return counts.every((count) => count !== undefined)
    ? outer(counts, dy)
    : countAtRunTime(x, dy, window, includePad, (ones) => ones)
}

/** Number of counted taps of every window along one axis; undefined if known only at run time. */
function countsAlong(axis: WindowAxis, length: unknown, windows: unknown, includePad: boolean): number[] | undefined {
  const { kernel, stride, dilation, before, after } = axis as WindowAxis & {
    kernel: number
    before: number
    after: number
  }
  if (typeof length !== 'number' || typeof windows !== 'number' || windows * kernel > MANY_TAPS) return undefined
  const [low, high] = includePad ? [-before, length + after] : [0, length]
  return Array.from({ length: windows }, (_, window) => {
    const taps = Array.from({ length: kernel }, (_, tap) => window * stride - before + tap * dilation)
    return taps.filter((at) => at >= low && at < high).length
  })
}

/** Product of the counts along each axis, [Ho, 1] [1, Wo]. */
function outer(counts: readonly (readonly number[])[], dy: Value): Value {
  const factors = counts.map((count, i) => {
    const uniform = count.every((taps) => taps === count[0])
    const trailing = counts.slice(i + 1).map(() => 1)
    return constant(
      uniform ? tensorFrom(dy.dtype, [], [count[0] ?? 1]) : tensorFrom(dy.dtype, [count.length, ...trailing], count),
    )
  })
  return factors.reduce((a, b) => op.Mul(a, b))
}

/** Divisor computed at run time: a sum over windows of ones, cropped to the number of windows. */
function countAtRunTime(
  x: Value,
  dy: Value,
  window: readonly WindowAxis[],
  includePad: boolean,
  pad: (ones: Value) => Value,
): Value {
  const kernel = window.map(({ kernel }) => kernel as number)
  const [before, after] = [window.map(({ before }) => before as number), window.map(({ after }) => after as number)]
  const length = op.Shape(x, { start: 2 })
  const counted = includePad ? op.Add(length, int64s(before.map((pad, i) => pad + after[i]!))) : length
  // With ceil_mode a window may exceed the data by stride - 1.
  const overhang = window.map(({ stride }) => stride - 1)
  const pads = includePad
    ? [...before.map(() => 0), ...overhang]
    : [...before, ...after.map((pad, i) => pad + overhang[i]!)]
  const ones = op.Expand(scalar(dy.dtype, 1), op.Concat([int64s([1, 1]), counted], { axis: 0 }))
  const counts = op.Conv(pad(ones), onesKernel(dy, kernel), {
    strides: window.map(({ stride }) => stride),
    dilations: window.map(({ dilation }) => dilation),
    pads,
  })
  const axes = window.map((_, i) => i + 2)
  return op.Slice(
    counts,
    axes.map(() => 0),
    op.Shape(dy, { start: 2 }),
    axes,
  )
}
