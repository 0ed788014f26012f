import { constantNumber, int64s } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { concat, lengthAlong, reshapeLike } from '../../op/compose/shape.js'
import { knownNumbers } from '../../op/contents.js'
import {
  maxParts,
  padsOf,
  type SliceInputs,
  type SliceOfAxis,
  slicesOf,
  type slicing,
} from '../../op/definitions/slicing.js'
import { op } from '../../op/op.js'
import { zerosLike } from '../active.js'
import type { Rules } from '../rule.js'
import { scatterByPosition } from './indexing.js'

const [zero, one] = [int64s([0]), int64s([1])]

/** Gradients of Concat's operands: dy split at their boundaries. */
function splitGradient(xs: readonly Value[], dy: Value, axis: number): readonly Value[] {
  if (xs.length === 1) return [dy]
  const lengths = xs.map((x) => lengthAlong(x, axis))
  if (xs.length <= maxParts) return op.Split(dy, concat(lengths), { axis })
  // More operands than Split has outputs: in groups.
  const starts = Array.from({ length: Math.ceil(xs.length / maxParts) }, (_, i) => i * maxParts)
  const groupOf = <T>(items: readonly T[], start: number) => items.slice(start, start + maxParts)
  const sums = starts.map((start) => op.ReduceSum(concat(groupOf(lengths, start))))
  return op.Split(dy, concat(sums), { axis }).flatMap((part, i) => splitGradient(groupOf(xs, starts[i]!), part, axis))
}

/** Smallest index that a slice takes along an axis; for a negative step that is the last one taken. */
function firstPosition(start: Value, length: Value, taken: Value, step: number): Value {
  if (step > 0 && constantNumber(start) === 0) return zero
  const bound = op.Max([op.Where(op.Less(start, zero), op.Add(start, length), start), zero])
  if (step > 0) return op.Min([bound, length])
  return op.Add(op.Min([bound, op.Sub(length, one)]), op.Mul(op.Sub(taken, one), int64s([step])))
}

/** Reverses dy along `axes`. */
function reverseAlong(dy: Value, axes: readonly number[]): Value {
  const all = (bound: number) => axes.map(() => bound)
  return axes.length === 0 ? dy : op.Slice(dy, all(-1), all(-(2 ** 63)), axes, all(-1))
}

/** Inserts step - 1 zeros after every element of dy along `axis`. */
function dilate(dy: Value, axis: number, step: number): Value {
  const rank = dy.shape!.length
  const pads = Array.from({ length: 2 * (rank + 1) }, (_, index) => (index === rank + 1 + axis + 1 ? step - 1 : 0))
  const spread = op.Pad(op.Unsqueeze(dy, [axis + 1]), pads)
  const lengths = Array.from({ length: rank }, (_, other) => (other === axis ? step : 1))
  return op.Reshape(spread, op.Mul(op.Shape(dy), int64s(lengths)), { allowzero: 1 })
}

interface Stride {
  readonly axis: number
  readonly step: number
  readonly start: Value
}

function stridesOf(inputs: SliceInputs): readonly Stride[] | undefined {
  const slices = slicesOf(inputs)
  if (!slices) return undefined
  const strides = [...slices].map(([axis, { step }]: [number, SliceOfAxis], index) => ({
    axis,
    step,
    // Bounds may be int32; lengths are int64.
    start: cast(op.Slice(inputs[1], [index], [index + 1]), 'int64'),
  }))
  return strides.every((stride): stride is Stride => stride.step !== undefined) ? strides : undefined
}

/** The largest step for which dy is dilated: a dilated element takes the memory of as many elements as the step. */
const maxDilation = 64

/**
 * Gradient of Slice: dy reversed along axes with a negative step, dilated along axes with a step other than 1, and
 * padded with zeros. If rank, axes or steps are known only at run time, or a step is large, the positions of the
 * elements are sliced instead. tf2onnx takes single elements with a step of 1e9.
 */
function sliceGradient(inputs: SliceInputs, dy: Value): Value {
  const [x, starts, ends, axes, steps] = inputs
  const strides = stridesOf(inputs)
  if (!x.shape || !strides || strides.some(({ step }) => Math.abs(step) > maxDilation))
    return scatterByPosition(x, dy, (positions) => op.Slice(positions, starts, ends, axes, steps))
  const backwards = strides.filter(({ step }) => step < 0).map(({ axis }) => axis)
  const apart = strides.filter(({ step }) => Math.abs(step) > 1)
  const spread = apart.reduce((dx, { axis, step }) => dilate(dx, axis, Math.abs(step)), reverseAlong(dy, backwards))
  const margins = x.shape.map((_, axis): [before: Value, after: Value] => {
    const stride = strides.find((candidate) => candidate.axis === axis)
    if (!stride) return [zero, zero]
    const length = lengthAlong(x, axis)
    const before = firstPosition(stride.start, length, lengthAlong(dy, axis), stride.step)
    return [before, op.Sub(op.Sub(length, before), lengthAlong(spread, axis))]
  })
  const pads = concat([...margins.map(([before]) => before), ...margins.map(([, after]) => after)])
  return knownNumbers(pads)?.every((pad) => pad === 0) ? spread : op.Pad(spread, pads)
}

/** Gradient of Pad with a constant: dy cropped, or padded with zeros if a pad is negative. */
function padGradient(x: Value, dy: Value, pads: Value, axes: Value | null): Value {
  const known = padsOf(x, pads, axes)
  const padded = [...(known ?? [])].filter(([, margins]) => margins.some((margin) => margin !== 0))
  const simple = padded.every(([, margins]) => margins.every((margin) => typeof margin === 'number' && margin >= 0))
  if (!known || !simple) return op.Pad(dy, op.Neg(pads), null, axes)
  if (padded.length === 0) return dy
  const starts = padded.map(([, [before]]) => before as number)
  const ends = padded.map(([, [, after]]) => (after === 0 ? 2 ** 63 : -after))
  return op.Slice(
    dy,
    starts,
    ends,
    padded.map(([axis]) => axis),
  )
}

/** Gradient of a padding constant: the sum of dy over all elements that are not from x. */
const padValueGradient = (value: Value, dy: Value, dx: Value): Value =>
  reshapeLike(op.Sub(op.ReduceSum(dy, null, { keepdims: 0 }), op.ReduceSum(dx, null, { keepdims: 0 })), value)

export const slicingRules = {
  Concat: (xs, dy, { attributes: { axis } }) => splitGradient(xs, dy, axis),
  Split: (_, dys, { y, attributes: { axis } }) => [
    op.Concat(
      dys.map((dy, index) => dy ?? zerosLike(y[index]!)),
      { axis },
    ),
    null,
  ],
  Slice: (inputs, dy) => [sliceGradient(inputs, dy), null, null, null, null],
  Pad: ([x, pads, value, axes], dy, { attributes: { mode } }) => {
    if (mode !== 'constant')
      return [scatterByPosition(x, dy, (positions) => op.Pad(positions, pads, null, axes, { mode })), null, null, null]
    const dx = padGradient(x, dy, pads, axes)
    return [dx, null, value && padValueGradient(value, dy, dx), null]
  },
  Trilu: ([, k], dy, { attributes: { upper } }) => [op.Trilu(dy, k, { upper }), null],
  // Cropping and padding use the same leading margin, floor(difference / 2).
  CenterCropPad: ([x], dy, { attributes: { axes } }) => [
    op.CenterCropPad(dy, axes ? op.Gather(op.Shape(x), axes) : op.Shape(x), { axes }),
    null,
  ],
} satisfies Rules<typeof slicing>
