import { dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { type ChangedAxis, changedAxes, coordinatesOf, counting, tapsOf } from '../../op/compose/resize.js'
import type { ResizeAttributes, resize } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import { antialiasWeights } from './resize/antialias.js'
import { findRepetitions, sumRepeated } from './resize/repetition.js'

const nothing = () => scalar('float32', 0)

/** Interpolation matrix A of one axis, float32 [output length, input length]: y = A x + c along the axis. */
function interpolation(axis: ChangedAxis, attributes: ResizeAttributes): Value {
  const coordinates = coordinatesOf(attributes.coordinate_transformation_mode, axis)
  const positions = counting(axis.inputLength)
  const oneAt = (index: Value) => op.Equal(op.Unsqueeze(index, [1]), positions)
  const weights = () =>
    attributes.antialias === 1
      ? antialiasWeights(coordinates, axis, attributes)
      : tapsOf(coordinates, axis.inputLength, attributes)
          .map(({ index, weight }) =>
            weight ? op.Where(oneAt(index), op.Unsqueeze(weight, [1]), nothing()) : asNumber(oneAt(index)),
          )
          .reduce((a, b) => op.Add(a, b))
  const identity = () => asNumber(oneAt(counting(axis.outputLength)))
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
    const dx = changedAxes({ x, y, roi, scales, sizes }, attributes).reduceRight(
      (dy, axis) => alongAxis(dy, op.CastLike(interpolation(axis, attributes), dy), axis.axis),
      dy,
    )
    return [dx, null, null, null]
  },
} satisfies Rules<typeof resize>
