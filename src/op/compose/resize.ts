import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { knownNumbers } from '../contents.js'
import { nullIfEmpty, type ResizeAttributes, resolveAxes, resolveScales } from '../definitions/resize.js'
import { op } from '../op.js'

/** One resized axis at run time: float32 scalars, as onnxruntime computes with. */
interface ResizedAxis {
  readonly scale: Value
  readonly inputLength: Value
  readonly outputLength: Value
  /** The region of tf_crop_and_resize, as fractions of the distance from the first element to the last. */
  readonly region?: { readonly start: Value; readonly end: Value }
}

const float = (value: number) => scalar('float32', value)
const wide = (x: Value) => op.Cast(x, { to: dtypes.float64.onnx })
const narrow = (x: Value) => op.Cast(x, { to: dtypes.float32.onnx })

/** 0, 1, ... n - 1 as float32. */
export const floatRange = (n: Value): Value => op.Range(float(0), n, float(1))

/**
 * Coordinates of the output elements on the input axis: float32 [output length]. `tf_half_pixel_for_nn` is a mode of
 * operator set 11.
 */
export function inputCoordinates(mode: string, { scale, inputLength, outputLength, region }: ResizedAxis): Value {
  const at = floatRange(outputLength)
  const lastInput = op.Sub(inputLength, 1)
  const steps = op.Max([op.Sub(outputLength, 1), float(1)])
  if (region) {
    const { start, end } = region
    const along = op.Div(op.Mul(op.Mul(at, op.Sub(end, start)), lastInput), steps)
    const middle = op.Mul(op.Mul(op.Add(start, end), 0.5), lastInput)
    return op.Where(op.Greater(outputLength, 1), op.Add(op.Mul(start, lastInput), along), middle)
  }
  const middles = op.Div(op.Add(at, 0.5), scale)
  switch (mode) {
    case 'asymmetric':
      return op.Div(at, scale)
    case 'align_corners':
      // A single element is at 0, because its index is 0.
      return op.Div(op.Mul(at, lastInput), steps)
    case 'tf_half_pixel_for_nn':
      return middles
    case 'pytorch_half_pixel':
      return op.Where(op.Greater(outputLength, 1), op.Sub(middles, 0.5), float(0))
    case 'half_pixel_symmetric': {
      // Centered on the input if scale * length is not an integer. The order of the terms and the doubles are
      // onnxruntime's, and decide the rounding of integer coordinates.
      const adjustment = op.Div(outputLength, op.Mul(scale, inputLength))
      const offset = op.Mul(op.Div(inputLength, 2), op.Sub(1, adjustment))
      return narrow(op.Sub(op.Add(wide(offset), op.Div(op.Add(wide(at), 0.5), wide(scale))), 0.5))
    }
    default:
      return op.Sub(middles, 0.5)
  }
}

/** An axis whose elements may change. */
export interface ChangedAxis extends ResizedAxis {
  readonly axis: number
  /** Bool scalar, if only known at run time: the axis keeps its elements for any coordinates. */
  readonly kept?: Value
  /** Bool scalar, if only known at run time: the axis keeps the elements inside the region. */
  readonly keptInRegion?: Value
}

interface Operands {
  readonly x: Value
  readonly y: Value
  readonly roi: Value | null
  readonly scales: Value | null
  readonly sizes: Value | null
}

/**
 * The axes that are interpolated. onnxruntime copies instead: the whole tensor if no length changes, an axis with scale
 * 1, and with antialias (which also runs cubic with channels last) an axis whose length does not change.
 */
export function findChangedAxes(
  { x, y, roi, scales, sizes }: Operands,
  attributes: Pick<
    ResizeAttributes,
    'antialias' | 'axes' | 'coordinate_transformation_mode' | 'keep_aspect_ratio_policy' | 'mode'
  >,
): readonly ChangedAxis[] {
  const crops = attributes.coordinate_transformation_mode === 'tf_crop_and_resize'
  const axes = resolveAxes(x.shape!.length, attributes.axes)
  const by = resolveScales(scales, sizes)
  const known = knownNumbers(by.scales)
  const stretches = by.sizes !== null && attributes.keep_aspect_ratio_policy === 'stretch'
  const lengths = axes.map((axis) => ({ inputLength: lengthAt(x, axis), outputLength: lengthAt(y, axis) }))
  const factors = by.scales
    ? axes.map((_, i) => op.Gather(by.scales, scalar('int64', i)))
    : sizeFactors(by.sizes, lengths, attributes.keep_aspect_ratio_policy)
  const stays = axes.map((axis, i) => lengthStays(x, y, axis, known?.[i]))
  if (stays.every((stays) => stays === true)) return []
  const equal = lengths.map(({ inputLength, outputLength }) => op.Equal(inputLength, outputLength))
  // Stretched to its own length an axis has scale 1, which all coordinates but a region's map to itself.
  const allStay =
    stays.includes(false) || (stretches && !crops)
      ? undefined
      : equal.filter((_, i) => stays[i] === undefined).reduce((a, b) => op.And(a, b))

  const unscaled = x.shape!.length === 4 && axes.includes(1) ? unscaledAt(axes.indexOf(1), known, stays) : true
  const copies = attributes.antialias === 1 || (attributes.mode === 'cubic' && unscaled === false)
  const stretched = attributes.antialias === 1 || attributes.mode === 'cubic'
  if (crops && stretched && unscaled !== true && !within(roi, axes.length))
    throw new OnnxIreError(
      'not-differentiable',
      "Resize: no gradient is offered for channels last with antialias or 'cubic' and a roi that may reach beyond the image, where " +
        'onnxruntime puts extrapolation_value in other places than ONNX says; transpose to channels first, or keep a constant roi in [0, 1)',
    )

  return axes.flatMap((axis, i) => {
    if (known ? known[i] === 1 : stretches && stays[i] === true) return []
    if (copies && !crops && stays[i] === true) return []
    const unscaled = crops && !known && stays[i] !== false ? op.Equal(factors[i]!, 1) : undefined
    const kept = unscaled && allStay ? op.Or(unscaled, allStay) : (unscaled ?? allStay)
    const keptInRegion = copies && stays[i] !== false ? equal[i] : undefined
    return {
      axis,
      scale: factors[i]!,
      ...lengths[i]!,
      ...(crops ? { region: regionOf(roi, i, axes.length) } : {}),
      ...(kept ? { kept } : {}),
      ...(keptInRegion ? { keptInRegion } : {}),
    }
  })
}

function lengthAt(x: Value, axis: number): Value {
  const length = x.shape![axis]
  if (typeof length === 'number') return scalar('float32', length)
  return op.Cast(op.Reshape(op.Shape(x, { start: axis, end: axis + 1 }), int64s([])), { to: dtypes.float32.onnx })
}

/** Whether the length of an axis does not change; undefined if unknown before running. */
function lengthStays(x: Value, y: Value, axis: number, scale: number | undefined): boolean | undefined {
  const [before, after] = [x.shape![axis]!, y.shape?.[axis]]
  if (before === after || scale === 1) return true
  // From n elements a scale between 1 and 1 + 1/n makes n again.
  if ((typeof before === 'number' && typeof after === 'number') || (scale !== undefined && (scale < 1 || scale >= 2)))
    return false
  return undefined
}

/** Whether the i-th axis has scale 1; where axis 1 has not, onnxruntime takes images to be [N, H, W, C]. */
const unscaledAt = (
  i: number,
  known: readonly number[] | undefined,
  stays: readonly (boolean | undefined)[],
): boolean | undefined => (known ? known[i] === 1 : stays[i])

/** Whether all coordinates of a region are on the axis, rounding included. */
function within(roi: Value | null, count: number): boolean {
  const bounds = nullIfEmpty(roi)
  if (!bounds) return true
  const numbers = knownNumbers(bounds)
  return Array.from({ length: count }, (_, i) => [numbers?.[i] ?? -1, numbers?.[count + i] ?? -1] as const).every(
    ([start, end]) => (start === 0 && end === 1) || (start >= 0 && start < 1 && end >= 0 && end < 1),
  )
}

/** The i-th of `count` starts and ends; without them the axis from end to end. */
function regionOf(roi: Value | null, i: number, count: number): { start: Value; end: Value } {
  const bounds = nullIfEmpty(roi)
  if (!bounds) return { start: scalar('float32', 0), end: scalar('float32', 1) }
  return { start: op.Gather(bounds, scalar('int64', i)), end: op.Gather(bounds, scalar('int64', count + i)) }
}

/** size / length of every axis, or with an aspect ratio to keep the smallest or largest of them for all. */
function sizeFactors(
  sizes: Value,
  lengths: readonly { inputLength: Value; outputLength: Value }[],
  policy: string,
): readonly Value[] {
  const ratios = lengths.map(({ inputLength }, i) =>
    op.Div(op.Cast(op.Gather(sizes, scalar('int64', i)), { to: dtypes.float32.onnx }), inputLength),
  )
  if (policy === 'stretch') return ratios
  const one = policy === 'not_larger' ? op.Min(ratios) : op.Max(ratios)
  return ratios.map(() => one)
}

/**
 * An input element of the interpolation of every output element: index on the axis and weight, float32 [output length].
 */
interface Tap {
  readonly index: Value
  /** Absent: 1. */
  readonly weight?: Value
}
type WeightedTap = Required<Tap>

/** The taps of elements at `coordinates` of an axis of `length` elements. */
function interpolationTaps(coordinates: Value, length: Value, attributes: ResizeAttributes): readonly Tap[] {
  const last = op.Sub(length, 1)
  const onAxis = (index: Value) => op.Clip(index, float(0), last)
  if (attributes.mode === 'nearest') return [{ index: nearestIndex(coordinates, length, attributes.nearest_mode) }]
  if (attributes.mode === 'linear') {
    const at = onAxis(coordinates)
    const below = op.Floor(at)
    const ratio = op.Sub(at, below)
    return [
      { index: below, weight: op.Sub(1, ratio) },
      { index: onAxis(op.Add(below, 1)), weight: ratio },
    ]
  }
  const below = op.Floor(coordinates)
  const ratio = op.Sub(coordinates, below)
  const taps = cubicWeights(ratio, attributes.cubic_coeff_a).map((weight, i) => ({
    index: op.Add(below, i - 1),
    weight,
  }))
  const counted = attributes.exclude_outside === 1 ? withoutOutside(taps, last) : taps
  return counted.map(({ index, weight }) => ({ index: onAxis(index), weight }))
}

/** The elements of an axis of `length` elements nearest to `coordinates`. */
export const nearestIndex = (coordinates: Value, length: Value, mode: string): Value =>
  op.Clip(roundCoordinate(coordinates, mode), float(0), op.Sub(length, 1))

/** Distance from a half within which onnxruntime considers a coordinate halfway between two elements. */
const halfwayTolerance = 1e-6

function roundCoordinate(x: Value, mode: string): Value {
  if (mode === 'ceil') return op.Ceil(x)
  const below = op.Floor(x)
  if (mode === 'floor') return below
  const rest = op.Sub(x, below)
  const up =
    mode === 'round_prefer_ceil'
      ? op.GreaterOrEqual(rest, 0.5 - halfwayTolerance)
      : op.Greater(rest, 0.5 + halfwayTolerance)
  return op.Add(below, op.Cast(up, { to: dtypes.float32.onnx }))
}

/**
 * Keys' cubic f(d) = (a + 2) d^3 - (a + 3) d^2 + 1 up to distance 1 ("Cubic convolution interpolation for digital image
 * processing", 1981).
 */
const keysNearer = (d: Value, a: number): Value => polynomial(d, [a + 2, -(a + 3), 0, 1])

/** Keys' cubic f(d) = a d^3 - 5a d^2 + 8a d - 4a from distance 1 to 2. */
const keysFarther = (d: Value, a: number): Value => polynomial(d, [a, -5 * a, 8 * a, -4 * a])

/** Weights of the neighbors at distances 1 + t, t, 1 - t, 2 - t. */
export function cubicWeights(t: Value, a: number): readonly Value[] {
  const back = op.Sub(1, t)
  return [keysFarther(op.Add(t, 1), a), keysNearer(t, a), keysNearer(back, a), keysFarther(op.Add(back, 1), a)]
}

/** Horner's scheme, highest power first. */
const polynomial = (x: Value, [highest, next, ...rest]: readonly [number, number, ...number[]]): Value =>
  rest.reduce((sum, coefficient) => op.Add(op.Mul(sum, x), coefficient), op.Add(op.Mul(x, highest), next))

/** Sets the weights of neighbors outside the axis to 0 and normalizes the others. */
function withoutOutside(taps: readonly WeightedTap[], last: Value): readonly WeightedTap[] {
  const inside = taps.map(({ index, weight }) => {
    const on = op.And(op.GreaterOrEqual(index, 0), op.LessOrEqual(index, last))
    return { index, weight: op.Where(on, weight, float(0)) }
  })
  const total = inside.map(({ weight }) => weight).reduce((a, b) => op.Add(a, b))
  return inside.map(({ index, weight }) => ({ index, weight: op.Div(weight, total) }))
}

/** Interpolation matrix A of one axis, float32 [output length, input length]: y = A x + c along the axis. */
export function interpolationMatrix(axis: ChangedAxis, attributes: ResizeAttributes): Value {
  const coordinates = inputCoordinates(attributes.coordinate_transformation_mode, axis)
  const positions = floatRange(axis.inputLength)
  const oneAt = (index: Value) => op.Equal(op.Unsqueeze(index, [1]), positions)
  const weights = () =>
    attributes.antialias === 1
      ? antialiasWeights(coordinates, axis, attributes)
      : interpolationTaps(coordinates, axis.inputLength, attributes)
          .map(({ index, weight }) =>
            weight ? op.Where(oneAt(index), op.Unsqueeze(weight, [1]), float(0)) : asNumber(oneAt(index)),
          )
          .reduce((a, b) => op.Add(a, b))
  const identity = () => asNumber(oneAt(floatRange(axis.outputLength)))
  const keptIf = (kept: Value | undefined, a: Value) => (kept ? op.Where(kept, identity(), a) : a)

  const a = keptIf(axis.keptInRegion, weights())
  if (!axis.region) return keptIf(axis.kept, a)
  return keptIf(axis.kept, op.Where(op.Unsqueeze(isOutside(axis, coordinates), [1]), float(0), a))
}

/** Whether coordinates are outside the axis, where elements are extrapolation_value, which does not depend on x. */
const isOutside = ({ inputLength }: ResizedAxis, coordinates: Value): Value =>
  op.Or(op.Less(coordinates, 0), op.Greater(coordinates, op.Sub(inputLength, 1)))

/** Elements along a resized axis that are extrapolation_value: bool [output length]; null if none can be. */
export function findExtrapolated(axis: ChangedAxis, attributes: ResizeAttributes): Value | null {
  if (!axis.region) return null
  const outside = isOutside(axis, inputCoordinates(attributes.coordinate_transformation_mode, axis))
  return axis.kept ? op.And(outside, op.Not(axis.kept)) : outside
}

const asNumber = (truth: Value): Value => op.Cast(truth, { to: dtypes.float32.onnx })

/** Multiplies along one axis of x by a matrix [length, other length] from the right: x A, or A^T x. */
export function multiplyAlongAxis(x: Value, a: Value, axis: number): Value {
  const rank = x.shape!.length
  if (axis === rank - 1) return op.MatMul(x, a)
  if (axis === rank - 2) return op.MatMul(op.Transpose(a, { perm: [1, 0] }), x)
  const perm = Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i === rank - 1 ? axis : i))
  return op.Transpose(op.MatMul(op.Transpose(x, { perm }), a), { perm })
}

/**
 * Interpolation weights of antialiased resizing, float32 [output length, input length]: w_ij = f((j - x_i) min(scale,
 * 1)) / sum_j f, where f is the hat function 1 - |d| or Keys' cubic. The sum runs over all integers j. Weights beyond
 * an end are added to the last element there; with `exclude_outside` they are omitted, from the sum too.
 */
function antialiasWeights(
  coordinates: Value,
  { scale, inputLength }: ResizedAxis,
  { mode, cubic_coeff_a, exclude_outside }: ResizeAttributes,
): Value {
  const x = op.Unsqueeze(coordinates, [1])
  const weights = (positions: Value) => {
    const distance = op.Mul(op.Abs(op.Sub(positions, x)), op.Min([scale, float(1)]))
    return mode === 'linear' ? op.Relu(op.Sub(1, distance)) : cubic(distance, cubic_coeff_a)
  }
  const sum = (weights: Value) => op.ReduceSum(weights, [1], { keepdims: 1 })
  const positions = floatRange(inputLength)
  const inside = weights(positions)
  if (exclude_outside === 1) return op.Div(inside, sum(inside))
  // Sufficient reach: the filter ends 1 or 2 stretched elements from its center, which is less than half an element
  // beyond the ends.
  const reach = op.Ceil(op.Div(mode === 'linear' ? 2 : 3, op.Min([scale, float(1)])))
  const before = sum(weights(op.Range(op.Neg(reach), float(0), float(1))))
  const after = sum(weights(op.Range(inputLength, op.Add(inputLength, reach), float(1))))
  const at = (position: Value, share: Value) => op.Where(op.Equal(positions, position), share, float(0))
  const folded = op.Add(op.Add(inside, at(float(0), before)), at(op.Sub(inputLength, 1), after))
  return op.Div(folded, sum(folded))
}

/** Keys' cubic convolution kernel at any distance; 0 from 2 on. */
function cubic(distance: Value, a: number): Value {
  const farther = op.Where(op.Less(distance, 2), keysFarther(distance, a), float(0))
  return op.Where(op.Less(distance, 1), keysNearer(distance, a), farther)
}
