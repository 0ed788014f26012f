import type { Value } from '../../ir/value.js'
import { findChangedAxes, findExtrapolated, interpolationMatrix, multiplyAlongAxis } from '../../op/compose/resize.js'
import type { ResizeAttributes, resize } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/**
 * Whether onnxruntime's kernel resizes x to y correctly: it has no antialiasing and no tensors of one axis, and
 * computes other values if all lengths stay, and if axis 1 changes, which may then be the rows of images with channels
 * last.
 */
function isRight(x: Value, y: Value, { antialias, mode, coordinate_transformation_mode }: ResizeAttributes): boolean {
  const rank = x.shape!.length
  const stays = x.shape!.map((dim, axis) => dim === y.shape?.[axis])
  if ((antialias === 1 && mode !== 'nearest') || rank === 1 || stays.every(Boolean)) return false
  return rank !== 4 || stays[1]! || (mode !== 'cubic' && coordinate_transformation_mode !== 'tf_crop_and_resize')
}

type Operands = readonly [x: Value, roi: Value | null, scales: Value | null, sizes: Value | null]

/**
 * Resize as products with the interpolation matrix of each axis, which is constant if lengths and factors are. Null if
 * a length that changes is not known.
 */
export function resizeByProducts([x, roi, scales, sizes]: Operands, attributes: ResizeAttributes): Value | null {
  const y = op.Resize(x, roi, scales, sizes, attributes)
  const isKnown = (axis: number) => typeof y.shape?.[axis] === 'number' && typeof x.shape?.[axis] === 'number'
  if (!x.shape?.every((dim, axis) => dim === y.shape?.[axis] || isKnown(axis))) return null
  const axes = findChangedAxes({ x, y, roi, scales, sizes }, attributes)
  const resized = axes.reduce((result, axis) => {
    const transposed = op.Transpose(interpolationMatrix(axis, attributes), { perm: [1, 0] })
    return multiplyAlongAxis(result, op.CastLike(transposed, x), axis.axis)
  }, x)
  return axes.reduce((result, axis) => {
    const outside = findExtrapolated(axis, attributes)
    if (!outside) return result
    const along = x.shape!.map((_, other) => (other === axis.axis ? -1 : 1))
    return op.Where(op.Reshape(outside, along), attributes.extrapolation_value, result)
  }, resized)
}

export const resizeLowerings = {
  Resize: ([x, roi, scales, sizes], attributes) =>
    !x.shape || isRight(x, op.Resize(x, roi, scales, sizes, attributes), attributes)
      ? null
      : resizeByProducts([x, roi, scales, sizes], attributes),
} satisfies Lowerings<typeof resize>
