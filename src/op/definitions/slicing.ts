import { constantTensor, maxContentsElements, numbersOf } from '../../ir/leaf.js'
import {
  addDims,
  axisOf,
  ceilDivDims,
  type Dim,
  formatShape,
  isStatic,
  type Shape,
  subDims,
  unknownDim,
} from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkIntegers, knownNumbers, limitContents, selectContents, smallSize, vectorLength } from '../contents.js'
import { define, int, ints, string } from '../define.js'
import { noFlops } from '../flops.js'
import { checkLengths } from './movement.js'

/** Bounds from this number on mean "to the end". */
export const endBound = 2 ** 31 - 1

/** Operands of Slice; axes left out are the first ones, steps left out are 1. */
export type SliceInputs = readonly [x: Value, starts: Value, ends: Value, axes: Value | null, steps: Value | null]

export interface SliceOfAxis {
  /** undefined: known only at run time. */
  readonly start: Dim | undefined
  readonly end: Dim | undefined
  readonly step: number | undefined
}

/** The slice of each axis, in the order of `axes`; undefined if the axes are unknown before running. */
export function slicesOf([x, starts, ends, axes, steps]: SliceInputs): ReadonlyMap<number, SliceOfAxis> | undefined {
  checkIntegers(starts, ends, axes, steps)
  const count = vectorLength(starts) ?? vectorLength(ends)
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

/** Bounds; those of a constant are rounded to doubles, because -(2^63 - 1) also means "to the end". */
function bounds(value: Value): readonly Dim[] | undefined {
  const tensor = constantTensor(value)
  return tensor ? numbersOf(tensor) : value.contents
}

/**
 * Number of elements of a slice. Bounds relative to a symbolic length are assumed to be inside the axis if that is the
 * usual meaning (`x[:, :-1]` of N is N-1, `table[:S]` is S). A bound that may be outside (`x[:, :512]` of N) gives
 * `min(N,512)`.
 */
function sliceLength(length: Dim, { start, end, step }: SliceOfAxis): Dim {
  if (start === undefined || end === undefined || step === undefined) return unknownDim()
  if (typeof length === 'number' && typeof start === 'number' && typeof end === 'number') {
    return Math.max(0, Math.ceil((endIn(end, length, step) - startIn(start, length, step)) / step))
  }
  if (step < 0) {
    const whole =
      (start === -1 || (typeof start === 'number' && start >= endBound)) && typeof end === 'number' && end <= -endBound
    return whole ? ceilDivDims(length, -step) : unknownDim()
  }
  return ceilDivDims(span(length, start, end), step)
}

/**
 * Bounds as the operator clamps them: the start to an element (or, going forwards, to the end), the end to one step
 * beyond.
 */
const startIn = (bound: number, length: number, step: number): number =>
  clamp(bound, length, 0, step > 0 ? length : length - 1)
const endIn = (bound: number, length: number, step: number): number =>
  step > 0 ? clamp(bound, length, 0, length) : clamp(bound, length, -1, length - 1)
const clamp = (bound: number, length: number, low: number, high: number): number =>
  Math.min(Math.max(bound < 0 ? bound + length : bound, low), high)

function span(length: Dim, start: Dim, end: Dim): Dim {
  const toEnd = end === length || (typeof end === 'number' && end >= endBound)
  if (toEnd)
    return typeof start === 'number' && start < 0
      ? least(length, -start)
      : subDims(length, countFromStart(length, start))
  if (start === 0 && typeof end === 'number' && end >= 0) return least(length, end)
  if (typeof start === 'number' && typeof end === 'number' && start < 0 === end < 0)
    return end <= start ? 0 : unknownDim()
  return subDims(countFromStart(length, end), countFromStart(length, start))
}

const countFromStart = (length: Dim, bound: Dim): Dim =>
  typeof bound === 'number' && bound < 0 ? addDims(length, bound) : bound
/** min(length, limit); 1 for `x[:, :1]`, assuming that the axis is not empty. */
const least = (length: Dim, limit: number): Dim =>
  limit <= 1 ? limit : typeof length === 'number' ? Math.min(length, limit) : `min(${length},${limit})`

function inferSlice(inputs: SliceInputs): Shape | undefined {
  const slices = slicesOf(inputs)
  const [x] = inputs
  return x.shape?.map((dim, axis) => {
    const slice = slices?.get(axis)
    return slice ? sliceLength(dim, slice) : slices ? dim : unknownDim()
  })
}

function slicedContents(inputs: SliceInputs): readonly Dim[] | undefined {
  const [x] = inputs
  const slices = x.contents && slicesOf(inputs)
  if (!slices || !isStatic(x.shape)) return undefined
  const lines = x.shape.map((length, axis) => {
    const { start, end, step } = slices.get(axis) ?? { start: 0, end: length, step: 1 }
    const known = typeof start === 'number' && typeof end === 'number' && step !== undefined
    return known ? { first: startIn(start, length, step), step } : undefined
  })
  if (!lines.every((line) => line !== undefined)) return undefined
  return selectContents(x, inferSlice(inputs), (c) => lines.map(({ first, step }, axis) => first + c[axis]! * step))
}

/** Maximal number of outputs of Split: a bound for numbers from untrusted files. */
export const maxParts = 2 ** 16

function inferConcat(values: readonly Value[], axis: number): Shape | undefined {
  const shapes = values.map(({ shape }) => shape)
  const [first] = shapes
  if (!first || shapes.some((shape) => shape === undefined)) return undefined
  const at = axisOf(axis, first.length)
  return first.map((_, index) => {
    const dims = shapes.map((shape) => {
      if (shape!.length !== first.length) throw new OnnxIreError('invalid-shape', 'joins tensors of different rank')
      return shape![index]!
    })
    return index === at ? dims.reduce(addDims) : dims.reduce(matchDims)
  })
}

/** The known one of two dims that must be equal. Throws `invalid-shape` if they differ. */
export function matchDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number' && a !== b)
    throw new OnnxIreError('invalid-shape', `lengths ${a} and ${b} differ`)
  return typeof a === 'number' ? a : typeof b === 'number' ? b : a
}

/** Known elements of tensors concatenated along their first axis. */
function joinedContents(values: readonly Value[], axis: number): readonly Dim[] | undefined {
  if (
    values.every(({ contents }) => !contents) ||
    values.some(({ shape }) => !shape || axisOf(axis, shape.length) !== 0)
  )
    return undefined
  const parts = values.map(({ contents, shape }) => {
    const size = smallSize(shape)
    return contents ?? (size === undefined ? undefined : Array.from({ length: size }, unknownDim))
  })
  return parts.every((part) => part !== undefined) ? limitContents(parts.flat()) : undefined
}

/** Lengths of the parts of Split; undefined if their number is unknown. */
function splitSizes(
  length: Dim,
  sizes: Value | null,
  numOutputs: number | undefined,
  outputCount: number | undefined,
): readonly Dim[] | undefined {
  checkIntegers(sizes)
  const count = sizes ? (vectorLength(sizes) ?? outputCount) : (numOutputs ?? outputCount)
  if (count === undefined) return undefined
  if (outputCount !== undefined && outputCount !== count)
    throw new OnnxIreError('invalid-model', `gives ${count} outputs, not ${outputCount}`)
  if (!(count >= 1 && count <= maxParts))
    throw new OnnxIreError('invalid-model', `splits into ${count} parts; at most ${maxParts} are supported`)
  if (sizes) {
    const known = checkLengths(sizes.contents ?? Array.from({ length: count }, unknownDim))
    const total = known.reduce<number>((sum, dim) => (typeof dim === 'number' ? sum + dim : Number.NaN), 0)
    if (!Number.isNaN(total) && typeof length === 'number' && total !== length) {
      throw new OnnxIreError('invalid-shape', `splits ${length} elements into ${formatShape(known)}`)
    }
    return known
  }
  const part = ceilDivDims(length, count)
  return Array.from({ length: count }, (_, index): Dim => {
    if (index < count - 1) return part
    if (typeof length !== 'number' || typeof part !== 'number')
      return count === 1 ? length : part === length ? 0 : lastPart(length, part, count)
    return Math.max(0, length - part * (count - 1))
  })
}

/** Length of the last part: all other parts are ceil(length / count), the last may be shorter. */
const lastPart = (length: Dim, part: Dim, count: number): Dim => `last(${length},${part},${count})`

const modes = ['constant', 'reflect', 'edge', 'wrap']

/** Padding of each axis, `[before, after]`; undefined if unknown before running. */
export function padsOf(
  x: Value,
  pads: Value,
  axes: Value | null,
): ReadonlyMap<number, readonly [before: Dim, after: Dim]> | undefined {
  checkIntegers(pads, axes)
  if (!x.shape) return undefined
  const named = axes ? knownNumbers(axes)?.map((axis) => axisOf(axis, x.shape!.length)) : x.shape.map((_, axis) => axis)
  const { contents } = pads
  if (!named || !contents) return undefined
  if (contents.length !== 2 * named.length)
    throw new OnnxIreError('invalid-shape', `${contents.length} pads for ${named.length} axes`)
  return new Map(named.map((axis, index) => [axis, [contents[index]!, contents[index + named.length]!]]))
}

function inferPad(x: Value, pads: Value, axes: Value | null, mode: string): Shape | undefined {
  if (!modes.includes(mode)) throw new OnnxIreError('invalid-shape', `mode '${mode}' is none of ${modes.join(', ')}`)
  const known = padsOf(x, pads, axes)
  return checkLengths(
    x.shape?.map((dim, axis) => {
      const [before, after] = known?.get(axis) ?? [0, 0]
      return known ? addDims(addDims(dim, before), after) : unknownDim()
    }),
  )
}

export const slicing = {
  Concat: define({
    inputs: ['...xs'],
    attributes: { axis: int.required },
    since: 4,
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: xs, attributes: { axis } }) => {
      const [first] = xs
      if (!first) throw new OnnxIreError('invalid-model', 'needs at least one input')
      const other = xs.find((x) => x.dtype !== first.dtype)
      if (other) throw new OnnxIreError('invalid-shape', `operand types differ: ${first.dtype} and ${other.dtype}`)
      return { dtype: first.dtype, shape: inferConcat(xs, axis) }
    },
    contents: ({ inputs: xs, attributes: { axis } }) => joinedContents(xs, axis),
  }),
  Split: define({
    inputs: ['x', 'split?'],
    outputs: ['...ys'],
    attributes: { axis: int(0), num_outputs: int.optional },
    since: 18,
    hostInputs: ['split'],
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x, split], attributes: { axis, num_outputs }, outputCount }) => {
      const at = x.shape && axisOf(axis, x.shape.length)
      const sizes = splitSizes(at === undefined ? unknownDim() : x.shape![at]!, split, num_outputs, outputCount)
      if (!sizes) throw new OnnxIreError('invalid-model', 'needs num_outputs or a split whose length is known')
      return sizes.map((size) => ({ dtype: x.dtype, shape: x.shape?.map((dim, index) => (index === at ? size : dim)) }))
    },
    contents: ({ inputs: [x, split], attributes: { num_outputs }, outputCount }) => {
      const { contents } = x
      const sizes =
        x.shape?.length === 1 && contents ? splitSizes(contents.length, split, num_outputs, outputCount) : undefined
      if (!sizes || sizes.length > maxContentsElements || !sizes.every((size) => typeof size === 'number'))
        return undefined
      const starts = sizes.map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + size, 0))
      return sizes.map((size, index) => contents!.slice(starts[index]!, starts[index]! + size))
    },
  }),
  Slice: define({
    inputs: ['x', 'starts', 'ends', 'axes?', 'steps?'],
    since: 10,
    view: 'rearranged',
    hostInputs: ['starts', 'ends', 'axes', 'steps'],
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs }) => ({ dtype: inputs[0].dtype, shape: inferSlice(inputs) }),
    contents: ({ inputs }) => slicedContents(inputs),
  }),
  Pad: define({
    inputs: ['x', 'pads', 'constant_value?', 'axes?'],
    attributes: { mode: string('constant') },
    since: 19,
    hostInputs: ['pads', 'axes'],
    enlarges: true,
    acceptsInt32: true,
    maxOpset: { webgpu: 23 },
    flops: noFlops,
    infer: ({ inputs: [x, pads, , axes], attributes: { mode } }) => ({
      dtype: x.dtype,
      shape: inferPad(x, pads, axes, mode),
    }),
  }),
  Trilu: define({
    inputs: ['x', 'k?'],
    attributes: { upper: int(1) },
    since: 14,
    hostInputs: ['k'],
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x] }) => {
      if (x.shape && x.shape.length < 2) throw new OnnxIreError('invalid-shape', 'needs at least two axes')
      return x
    },
  }),
  CenterCropPad: define({
    inputs: ['x', 'shape'],
    attributes: { axes: ints.optional },
    since: 18,
    hostInputs: ['shape'],
    flops: noFlops,
    infer: ({ inputs: [x, shape], attributes: { axes } }) => ({
      dtype: x.dtype,
      shape: inferCenterCropPad(x, shape, axes),
    }),
  }),
}

function inferCenterCropPad(x: Value, shape: Value, axes: readonly number[] | undefined): Shape | undefined {
  if (!x.shape) return undefined
  const named = axes ? axes.map((axis) => axisOf(axis, x.shape!.length)) : x.shape.map((_, axis) => axis)
  checkIntegers(shape)
  const count = vectorLength(shape)
  if (count !== undefined && count !== named.length)
    throw new OnnxIreError('invalid-shape', `${count} lengths for ${named.length} axes`)
  return checkLengths(
    x.shape.map((dim, axis) => (named.includes(axis) ? (shape.contents?.[named.indexOf(axis)] ?? unknownDim()) : dim)),
  )
}
