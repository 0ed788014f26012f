import { findChangedAxes, interpolationMatrix, multiplyAlongAxis } from '../../op/compose/resize.js'
import type { resize } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

export const resizeLowerings = {
  // onnxruntime has no antialiasing on WebGPU: products with the interpolation matrix of each axis, which is constant.
  Resize: ([x, roi, scales, sizes], attributes) => {
    const { antialias, mode, coordinate_transformation_mode: coordinates } = attributes
    if (antialias !== 1 || mode === 'nearest' || coordinates === 'tf_crop_and_resize' || !x.shape) return null
    const y = op.Resize(x, roi, scales, sizes, attributes)
    const isKnown = (axis: number) => typeof y.shape?.[axis] === 'number' && typeof x.shape?.[axis] === 'number'
    if (!x.shape.every((dim, axis) => dim === y.shape?.[axis] || isKnown(axis))) return null
    return findChangedAxes({ x, y, roi, scales, sizes }, attributes).reduce((result, axis) => {
      const transposed = op.Transpose(interpolationMatrix(axis, attributes), { perm: [1, 0] })
      return multiplyAlongAxis(result, op.CastLike(transposed, x), axis.axis)
    }, x)
  },
} satisfies Lowerings<typeof resize>
