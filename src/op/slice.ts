import { constantTensor, numbersOf } from '../ir/leaf.js'
import { addDims, axisOf, ceilDivDims, type Dim, isStatic, type Shape, subDims, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { checkIntegers, knownNumbers, lengthOf, takenFrom } from './known.js'

/** Bounds beyond this are exporters' ways to write "to the end". */
const END = 2 ** 31 - 1

/** Operands of Slice; axes left out are the first ones, steps left out are 1. */
export type SliceInputs = readonly [x: Value, starts: Value, ends: Value, axes: Value | null, steps: Value | null]

export interface SliceOfAxis {
  /** undefined: known only at run time. */
  readonly start: Dim | undefined
  readonly end: Dim | undefined
  readonly step: number | undefined
}

/** What Slice takes of each axis it names, in its order; undefined when the axes are known only at run time. */
export function slicesOf([x, starts, ends, axes, steps]: SliceInputs): ReadonlyMap<number, SliceOfAxis> | undefined {
  checkIntegers(starts, ends, axes, steps)
  const count = lengthOf(starts) ?? lengthOf(ends)
  if (!x.shape || count === undefined || count > x.shape.length) return undefined
  const named = axes
    ? knownNumbers(axes)?.map((axis) => axisOf(axis, x.shape!.length))
    : Array.from({ length: count }, (_, axis) => axis)
  if (!named) return undefined
  const strides = steps ? knownNumbers(steps) : named.map(() => 1)
  if (strides?.includes(0)) throw new OnnxIreError('invalid-shape', 'a step of 0')
  return new Map(
    named.map((axis, index) => [
      axis,
      { start: bounds(starts)?.[index], end: bounds(ends)?.[index], step: strides?.[index] },
    ]),
  )
}

/** Of a constant rounded: -(2^63 - 1) is another way to write "to the end". */
function bounds(value: Value): readonly Dim[] | undefined {
  const tensor = constantTensor(value)
  return tensor ? numbersOf(tensor) : value.contents
}

/**
 * How many elements a slice has. Bounds relative to a symbolic length are taken to lie inside the axis where that is what
 * programs mean (`x[:, :-1]` of N is N-1, `table[:S]` is S), and a bound that may well lie outside (`x[:, :512]` of N) is `min(N,512)`.
 */
function sliceLength(length: Dim, { start, end, step }: SliceOfAxis): Dim {
  if (start === undefined || end === undefined || step === undefined) return unknownDim()
  if (typeof length === 'number' && typeof start === 'number' && typeof end === 'number') {
    return Math.max(0, Math.ceil((endIn(end, length, step) - startIn(start, length, step)) / step))
  }
  if (step < 0) {
    const whole =
      (start === -1 || (typeof start === 'number' && start >= END)) && typeof end === 'number' && end <= -END
    return whole ? ceilDivDims(length, -step) : unknownDim()
  }
  return ceilDivDims(span(length, start, end), step)
}

/** Bounds as the operator clamps them: the start to an element (or, going forwards, to the end), the end to one step beyond. */
const startIn = (bound: number, length: number, step: number): number =>
  clamp(bound, length, 0, step > 0 ? length : length - 1)
const endIn = (bound: number, length: number, step: number): number =>
  step > 0 ? clamp(bound, length, 0, length) : clamp(bound, length, -1, length - 1)
const clamp = (bound: number, length: number, low: number, high: number): number =>
  Math.min(Math.max(bound < 0 ? bound + length : bound, low), high)

function span(length: Dim, start: Dim, end: Dim): Dim {
  const toEnd = end === length || (typeof end === 'number' && end >= END)
  if (toEnd)
    return typeof start === 'number' && start < 0 ? least(length, -start) : subDims(length, within(length, start))
  if (start === 0 && typeof end === 'number' && end >= 0) return least(length, end)
  if (typeof start === 'number' && typeof end === 'number' && start < 0 === end < 0)
    return end <= start ? 0 : unknownDim()
  return subDims(within(length, end), within(length, start))
}

const within = (length: Dim, bound: Dim): Dim =>
  typeof bound === 'number' && bound < 0 ? addDims(length, bound) : bound
/** An axis without elements is no reason to call `x[:, :1]` anything but one element long. */
const least = (length: Dim, limit: number): Dim =>
  limit <= 1 ? limit : typeof length === 'number' ? Math.min(length, limit) : `min(${length},${limit})`

export function sliced(inputs: SliceInputs): Shape | undefined {
  const slices = slicesOf(inputs)
  const [x] = inputs
  return x.shape?.map((dim, axis) => {
    const slice = slices?.get(axis)
    return slice ? sliceLength(dim, slice) : slices ? dim : unknownDim()
  })
}

export function slicedContents(inputs: SliceInputs): readonly Dim[] | undefined {
  const [x] = inputs
  const slices = x.contents && slicesOf(inputs)
  if (!slices || !isStatic(x.shape)) return undefined
  const lines = x.shape.map((length, axis) => {
    const { start, end, step } = slices.get(axis) ?? { start: 0, end: length, step: 1 }
    const known = typeof start === 'number' && typeof end === 'number' && step !== undefined
    return known ? { first: startIn(start, length, step), step } : undefined
  })
  if (!lines.every((line) => line !== undefined)) return undefined
  return takenFrom(x, sliced(inputs), (c) => lines.map(({ first, step }, axis) => first + c[axis]! * step))
}
