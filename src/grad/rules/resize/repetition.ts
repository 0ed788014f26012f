import { int64s } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { knownNumbers } from '../../../op/contents.js'
import { type ResizeAttributes, resizedAxes } from '../../../op/definitions/resize.js'
import { op } from '../../../op/op.js'

/** Number of repetitions per axis if nearest-neighbor resizing repeats every element equally often; else undefined. */
export function findRepetitions(
  x: Value,
  y: Value,
  scales: Value | null,
  attributes: ResizeAttributes,
): readonly number[] | undefined {
  if (attributes.mode !== 'nearest' || attributes.keep_aspect_ratio_policy !== 'stretch' || !repeats(attributes))
    return undefined
  const axes = resizedAxes(x.shape!.length, attributes.axes)
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
export function sumRepeated(dy: Value, x: Value, counts: readonly number[]): Value {
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
