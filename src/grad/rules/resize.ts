import { int64s } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { findChangedAxes, interpolationMatrix, multiplyAlongAxis } from '../../op/compose/resize.js'
import { knownNumbers } from '../../op/contents.js'
import type { ResizeAttributes, resize } from '../../op/definitions/resize.js'
import { resolveAxes } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'

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
      (dy, axis) => multiplyAlongAxis(dy, op.CastLike(interpolationMatrix(axis, attributes), dy), axis.axis),
      dy,
    )
    return [dx, null, null, null]
  },
} satisfies Rules<typeof resize>

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
