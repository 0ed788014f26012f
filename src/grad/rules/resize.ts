import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import {
  type ChangedAxis,
  findChangedAxes,
  floatRange,
  inputCoordinates,
  interpolationTaps,
  keysFarther,
  keysNearer,
  type ResizedAxis,
} from '../../op/compose/resize.js'
import { knownNumbers } from '../../op/contents.js'
import type { ResizeAttributes, resize } from '../../op/definitions/resize.js'
import { resolveAxes } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'

const nothing = () => scalar('float32', 0)

/** Interpolation matrix A of one axis, float32 [output length, input length]: y = A x + c along the axis. */
function interpolation(axis: ChangedAxis, attributes: ResizeAttributes): Value {
  const coordinates = inputCoordinates(attributes.coordinate_transformation_mode, axis)
  const positions = floatRange(axis.inputLength)
  const oneAt = (index: Value) => op.Equal(op.Unsqueeze(index, [1]), positions)
  const weights = () =>
    attributes.antialias === 1
      ? antialiasWeights(coordinates, axis, attributes)
      : interpolationTaps(coordinates, axis.inputLength, attributes)
          .map(({ index, weight }) =>
            weight ? op.Where(oneAt(index), op.Unsqueeze(weight, [1]), nothing()) : asNumber(oneAt(index)),
          )
          .reduce((a, b) => op.Add(a, b))
  const identity = () => asNumber(oneAt(floatRange(axis.outputLength)))
  const keptIf = (kept: Value | undefined, a: Value) => (kept ? op.Where(kept, identity(), a) : a)

  const a = keptIf(axis.keptInRegion, weights())
  if (!axis.region) return keptIf(axis.kept, a)
  // Coordinates outside the axis give extrapolation_value, which does not depend on x.
  const beyond = op.Or(op.Less(coordinates, 0), op.Greater(coordinates, op.Sub(axis.inputLength, 1)))
  return keptIf(axis.kept, op.Where(op.Unsqueeze(beyond, [1]), nothing(), a))
}

const asNumber = (truth: Value): Value => op.Cast(truth, { to: dtypes.float32.onnx })

/** Product A^T dy along one axis. */
function alongAxis(dy: Value, a: Value, axis: number): Value {
  const rank = dy.shape!.length
  if (axis === rank - 1) return op.MatMul(dy, a)
  if (axis === rank - 2) return op.MatMul(op.Transpose(a, { perm: [1, 0] }), dy)
  const perm = Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i === rank - 1 ? axis : i))
  return op.Transpose(op.MatMul(op.Transpose(dy, { perm }), a), { perm })
}

export const resizeRules = {
  // y = A x + c along every resized axis: dx = A^T dy.
  Resize: ([x, roi, scales, sizes], dy, { y, attributes }) => {
    if (!x.shape)
      throw new OnnxIreError(
        'not-differentiable',
        'Resize: no gradient for data of unknown rank; declare its shape, or train only parameters downstream of it',
      )
    const repeats = findRepetitions(x, y, scales, attributes)
    if (repeats) return [sumRepeated(dy, x, repeats), null, null, null]
    const dx = findChangedAxes({ x, y, roi, scales, sizes }, attributes).reduceRight(
      (dy, axis) => alongAxis(dy, op.CastLike(interpolation(axis, attributes), dy), axis.axis),
      dy,
    )
    return [dx, null, null, null]
  },
} satisfies Rules<typeof resize>

const float = (value: number) => scalar('float32', value)

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

/** Number of repetitions per axis if nearest-neighbor resizing repeats every element equally often; else undefined. */
function findRepetitions(
  x: Value,
  y: Value,
  scales: Value | null,
  attributes: ResizeAttributes,
): readonly number[] | undefined {
  if (attributes.mode !== 'nearest' || attributes.keep_aspect_ratio_policy !== 'stretch' || !repeats(attributes))
    return undefined
  const axes = resolveAxes(x.shape!.length, attributes.axes)
  const factors = knownNumbers(scales)
  const counts = x.shape!.map((length, axis) => {
    const i = axes.indexOf(axis)
    if (i < 0) return 1
    const resized = y.shape?.[axis]
    return (
      factors?.[i] ??
      (length === resized ? 1 : typeof length === 'number' && typeof resized === 'number' ? resized / length : 0)
    )
  })
  return counts.every((count) => Number.isInteger(count) && count >= 1) ? counts : undefined
}

/**
 * Whether resizing by an integer factor k repeats every element k times. Output k i + r has the asymmetric coordinate
 * i + r / k, which floor maps to i; its half-pixel coordinate is at most (k - 1) / 2k from i, which rounding maps to
 * i.
 */
const repeats = ({ coordinate_transformation_mode: coordinates, nearest_mode: rounding }: ResizeAttributes): boolean =>
  coordinates === 'asymmetric'
    ? rounding === 'floor'
    : ['half_pixel', 'half_pixel_symmetric'].includes(coordinates) && rounding.startsWith('round')

/** Sums k neighbors: [..., n k, ...] to [..., n, ...]. */
function sumRepeated(dy: Value, x: Value, counts: readonly number[]): Value {
  const parts = counts.flatMap((count, axis) =>
    count === 1
      ? [op.Shape(x, { start: axis, end: axis + 1 })]
      : [op.Shape(x, { start: axis, end: axis + 1 }), int64s([count])],
  )
  const apart: number[] = []
  let next = 0
  for (const count of counts) {
    next++
    if (count > 1) apart.push(next++)
  }
  return apart.length === 0 ? dy : op.ReduceSum(op.Reshape(dy, op.Concat(parts, { axis: 0 })), apart, { keepdims: 0 })
}
