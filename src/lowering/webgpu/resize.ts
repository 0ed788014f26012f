import type { Value } from '../../ir/value.js'
import { findChangedAxes, findExtrapolated, interpolationMatrix, multiplyAlongAxis } from '../../op/compose/resize.js'
import type { ResizeAttributes, resize } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/**
 * Whether onnxruntime's kernel resizes x to y correctly: it has no antialiasing and no tensors of one axis, and computes
 * other values if all lengths stay, and if axis 1 changes, which may then be the rows of images with channels last.
 */
function isRight(x: Value, y: Value, { antialias, mode, coordinate_transformation_mode }: ResizeAttributes): boolean {
  const rank = x.shape!.length
  const stays = x.shape!.map((dim, axis) => dim === y.shape?.[axis])
  if ((antialias === 1 && mode !== 'nearest') || rank === 1 || stays.every(Boolean)) return false
  return rank !== 4 || stays[1]! || (mode !== 'cubic' && coordinate_transformation_mode !== 'tf_crop_and_resize')
}

export const resizeLowerings = {
  // Products with the interpolation matrix of each axis, which is constant if lengths and factors are.
  Resize: ([x, roi, scales, sizes], attributes) => {
    if (!x.shape) return null
    const y = op.Resize(x, roi, scales, sizes, attributes)
    const isKnown = (axis: number) => typeof y.shape?.[axis] === 'number' && typeof x.shape?.[axis] === 'number'
    if (isRight(x, y, attributes) || !x.shape.every((dim, axis) => dim === y.shape?.[axis] || isKnown(axis)))
      return null
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
  },
} satisfies Lowerings<typeof resize>
