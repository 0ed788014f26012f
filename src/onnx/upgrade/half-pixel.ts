import { dtypes } from '../../ir/dtype.js'
import type { Value } from '../../ir/value.js'
import { type ChangedAxis, changedAxes, coordinatesOf, counting, nearestIndex } from '../../op/compose/resize.js'
import { knownNumbers } from '../../op/contents.js'
import { given } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import { form, unsupported } from './form.js'

const attributes = [
  'coordinate_transformation_mode',
  'cubic_coeff_a',
  'exclude_outside',
  'extrapolation_value',
  'mode',
  'nearest_mode',
]

/**
 * Nearest neighbours of (i + 0.5) / scale, the coordinates `tf_half_pixel_for_nn` that version 13 took away. Repeated a whole
 * number of times the elements lie as in `asymmetric` coordinates; others are gathered, for no other form rounds alike
 * where a coordinate is whole.
 */
export const tfHalfPixelForNearest = form(attributes, (node) => {
  if (node.text('mode') !== '' && node.text('mode') !== 'nearest')
    throw unsupported(`the coordinates tf_half_pixel_for_nn with mode '${node.text('mode')}' are not read`)
  const [x, scales, sizes] = [node.operand(0), given(node.optional(2)), given(node.optional(3))]
  const rounding = node.text('nearest_mode') || 'round_prefer_floor'
  const nearest = (coordinate_transformation_mode: string) =>
    op.Resize(x, null, scales, sizes, { mode: 'nearest', coordinate_transformation_mode, nearest_mode: rounding })
  if (rounding === 'floor' && knownNumbers(scales)?.every(Number.isInteger)) return [nearest('asymmetric')]
  if (!x.shape) throw unsupported('the coordinates tf_half_pixel_for_nn are not read for an unknown number of axes')
  // Of these coordinates only the lengths they lead to are asked.
  const y = nearest('half_pixel')
  const axes = changedAxes(
    { x, y, roi: null, scales, sizes },
    {
      antialias: 0,
      axes: undefined,
      coordinate_transformation_mode: 'tf_half_pixel_for_nn',
      keep_aspect_ratio_policy: 'stretch',
      mode: 'nearest',
    },
  )
  return [axes.reduce((x, axis) => op.Gather(x, neighbours(axis, rounding), { axis: axis.axis }), x)]
})

function neighbours(axis: ChangedAxis, rounding: string): Value {
  const nearest = nearestIndex(coordinatesOf('tf_half_pixel_for_nn', axis), axis.inputLength, rounding)
  // An axis with scale 1 is copied; its coordinates would lie halfway between its elements.
  const unscaled = op.Equal(axis.scale, 1)
  const kept = axis.kept ? op.Or(axis.kept, unscaled) : unscaled
  return op.Cast(op.Where(kept, counting(axis.outputLength), nearest), { to: dtypes.int64.onnx })
}
