import { constant, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import type { Dim } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { explicitPads } from '../../op/compose/explicit-pads.js'
import { castLike, typeOfCount } from '../../op/compose/statistics.js'
import type { pooling } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAttributes, type WindowAxis, windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import { inputGradient, rejectMovedWindows, withKnownPadding } from './convolution.js'
import { addAtIndices } from './indexing.js'

/** Lengths of the pooled axes; new symbols if the rank is unknown. */
const spatialOf = (x: Value, kernel: readonly number[]): readonly Dim[] =>
  x.shape?.slice(2) ?? kernel.map((_, i) => `?axis${i}`)

interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
}

/** Largest number of taps of a window: the gradient needs a kernel of ones of this size as a constant. */
const maxWindowTaps = 2 ** 20

/** If at least this many elements follow the last window of SAME padding, onnxruntime moves those of a pool. */
const minPoolRest = 2

function poolWindow(operator: string, x: Value, attributes: PoolAttributes): readonly WindowAxis[] {
  const { kernel_shape } = attributes
  if (sizeOf(kernel_shape) > maxWindowTaps) {
    throw new OnnxIreError(
      'not-differentiable',
      `${operator}: windows of [${kernel_shape.join(', ')}] are too large for a gradient; use a global pool`,
    )
  }
  return windowOf(attributes, kernel_shape, spatialOf(x, kernel_shape))
}

export const poolingRules = {
  // The largest element of each window, by its index in the whole tensor, receives the window's gradient.
  MaxPool: ([x], [dy], { y: [, indices], attributes }) => {
    if (!dy) return [null]
    const rowMajor = attributes.storage_order === 0 ? indices : op.MaxPool(x, { ...attributes, storage_order: 0 })[1]
    const disjoint = poolWindow('MaxPool', x, attributes).every((axis) => axis.stride >= (extentOf(axis) as number))
    const nothing = op.Reshape(op.Expand(scalar(dy.dtype, 0), op.Shape(x)), [-1])
    const [at, updates] = [op.Reshape(rowMajor, [-1]), op.Reshape(dy, [-1])]
    const flat = disjoint
      ? op.ScatterElements(nothing, at, updates, { axis: 0 })
      : addAtIndices(nothing, at, updates, 0)
    return [op.Reshape(flat, op.Shape(x))]
  },
  AveragePool: ([x], given, { attributes }) => {
    const { auto_pad, ceil_mode, count_include_pad, kernel_shape } = attributes
    const dy = cast(given, typeOfCount(given.dtype, sizeOf(kernel_shape)))
    const window = poolWindow('AveragePool', x, attributes)
    rejectMovedWindows('AveragePool', x, window, auto_pad, minPoolRest)
    const [dx] = withKnownPadding(x, int64s(kernel_shape), window, auto_pad, (padded, window, pad) => {
      const counting = {
        window,
        ceil: ceil_mode === 1 && !auto_pad.startsWith('SAME'),
        includePad: count_include_pad === 1,
        pad: padded === x ? undefined : pad,
      }
      const divisor = averagePoolDivisor(x, dy, counting)
      return [spreadOverWindows(op.Div(dy, divisor), window, 'NOTSET', padded)]
    })
    return [castLike(dx, given)]
  },
  // y = (sum |x|^p)^(1/p): dx = sign(x) |x|^(p - 1) sum over windows of dy / y^(p - 1), and 0 for windows of zeros.
  LpPool: ([x], dy, { y, attributes }) => {
    const { p, auto_pad } = attributes
    const window = poolWindow('LpPool', x, attributes)
    rejectMovedWindows('LpPool', x, window, auto_pad, minPoolRest)
    const padded = explicitPads('LpPool', x, attributes)
    const pooled = padded ? op.LpPool(x, padded) : y
    const share = op.Where(op.Equal(pooled, 0), 0, op.Div(dy, power(pooled, p - 1)))
    return [op.Mul(slope(x, p), spreadOverWindows(share, window, auto_pad, x))]
  },
} satisfies Rules<typeof pooling>

const power = (x: Value, exponent: number): Value => (exponent === 1 ? x : op.Pow(x, exponent))

/** Factor sign(x) |x|^(p - 1). */
const slope = (x: Value, p: number): Value =>
  p === 2 ? x : p === 1 ? op.Sign(x) : op.Mul(op.Sign(x), power(op.Abs(x), p - 1))

/** Largest total number of taps along an axis that is counted when the graph is built. */
const maxCountedTaps = 2 ** 20

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
function averagePoolDivisor(x: Value, dy: Value, { window, ceil, includePad, pad }: Counting): Value {
  const kernel = window.map(({ kernel }) => kernel as number)
  const padded = pad !== undefined || window.some(({ before, after }) => before !== 0 || after !== 0)
  const overhangs = ceil && window.some(({ stride }) => stride > 1)
  if (!overhangs && (includePad || !padded)) return scalar(dy.dtype, sizeOf(kernel))
  if (pad) return countAtRunTime(x, dy, window, includePad, pad)
  const counts = window.map((axis, i) => countsAlong(axis, x.shape?.[i + 2], dy.shape?.[i + 2], includePad))
  return counts.every((count) => count !== undefined)
    ? multiplyCounts(counts, dy)
    : countAtRunTime(x, dy, window, includePad, (ones) => ones)
}

/** Number of counted taps of every window along one axis; undefined if known only at run time. */
function countsAlong(axis: WindowAxis, length: unknown, windows: unknown, includePad: boolean): number[] | undefined {
  const { kernel, stride, dilation, before, after } = axis as WindowAxis & {
    kernel: number
    before: number
    after: number
  }
  if (typeof length !== 'number' || typeof windows !== 'number' || windows * kernel > maxCountedTaps) return undefined
  const [low, high] = includePad ? [-before, length + after] : [0, length]
  return Array.from({ length: windows }, (_, window) => {
    const taps = Array.from({ length: kernel }, (_, tap) => window * stride - before + tap * dilation)
    return taps.filter((at) => at >= low && at < high).length
  })
}

/** Product of the counts along each axis, [Ho, 1] [1, Wo]. */
function multiplyCounts(counts: readonly (readonly number[])[], dy: Value): Value {
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

/**
 * Adjoint of summing over windows: every element of `x` receives the sum of `dy` over the windows that cover it.
 */
function spreadOverWindows(dy: Value, window: readonly WindowAxis[], autoPad: string, x: Value): Value {
  const kernel = window.map(({ kernel }) => kernel as number)
  const [dx] = withKnownPadding(x, int64s(kernel), window, autoPad, (x, window) => [
    window.every(isDense)
      ? sumOverDense(dy, window)
      : op.Reshape(inputGradient(images(dy), onesKernel(dy, kernel), window, 1, x, false), op.Shape(x)),
  ])
  return dx
}

/** Merges channels into the batch axis, so that one kernel serves any number of channels. */
const images = (dy: Value): Value =>
  op.Reshape(dy, op.Concat([int64s([-1, 1]), op.Shape(dy, { start: 2 })], { axis: 0 }))

/** Kernel of ones, which sums over a window. */
const onesKernel = (like: Value, kernel: readonly number[]): Value =>
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
