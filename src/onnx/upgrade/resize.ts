import { dtypes } from '../../ir/dtype.js'
import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import {
  type ChangedAxis,
  findChangedAxes,
  floatRange,
  inputCoordinates,
  nearestIndex,
} from '../../op/compose/resize.js'
import { knownNumbers, vectorLength } from '../../op/contents.js'
import { nullIfEmpty } from '../../op/definitions/resize.js'
import { op } from '../../op/op.js'
import { defineRewrite, type OldNode, type Rewrite, type Upgrades, unsupportedError } from './rewrite.js'

const resizeAttributes = [
  'coordinate_transformation_mode',
  'cubic_coeff_a',
  'exclude_outside',
  'extrapolation_value',
  'mode',
  'nearest_mode',
]

/**
 * Nearest neighbors of (i + 0.5) / scale, the coordinates `tf_half_pixel_for_nn` that operator set 13 removed. For
 * integer scales the elements are those of `asymmetric` coordinates. Otherwise they are gathered: no mode of Resize
 * rounds integer coordinates in the same way.
 */
const tfHalfPixelForNearest = defineRewrite(resizeAttributes, (node) => {
  if (node.text('mode') !== '' && node.text('mode') !== 'nearest')
    throw unsupportedError(`coordinate_transformation_mode tf_half_pixel_for_nn with mode '${node.text('mode')}'`)
  const [x, scales, sizes] = [
    node.operand(0),
    nullIfEmpty(node.optionalOperand(2)),
    nullIfEmpty(node.optionalOperand(3)),
  ]
  const rounding = node.text('nearest_mode') || 'round_prefer_floor'
  const nearest = (coordinate_transformation_mode: string) =>
    op.Resize(x, null, scales, sizes, { mode: 'nearest', coordinate_transformation_mode, nearest_mode: rounding })
  if (rounding === 'floor' && knownNumbers(scales)?.every(Number.isInteger)) return [nearest('asymmetric')]
  if (!x.shape)
    throw unsupportedError('coordinate_transformation_mode tf_half_pixel_for_nn with an operand of unknown rank')
  // Only the shape of this value is used, which does not depend on the coordinates.
  const y = nearest('half_pixel')
  const axes = findChangedAxes(
    { x, y, roi: null, scales, sizes },
    {
      antialias: 0,
      axes: undefined,
      coordinate_transformation_mode: 'tf_half_pixel_for_nn',
      keep_aspect_ratio_policy: 'stretch',
      mode: 'nearest',
    },
  )
  return [axes.reduce((x, axis) => op.Gather(x, nearestNeighbors(axis, rounding), { axis: axis.axis }), x)]
})

function nearestNeighbors(axis: ChangedAxis, rounding: string): Value {
  const nearest = nearestIndex(inputCoordinates('tf_half_pixel_for_nn', axis), axis.inputLength, rounding)
  // An axis with scale 1 is copied: its coordinates would be halfway between its elements.
  const unscaled = op.Equal(axis.scale, 1)
  const kept = axis.kept ? op.Or(axis.kept, unscaled) : unscaled
  return op.Cast(op.Where(kept, floatRange(axis.outputLength), nearest), { to: dtypes.int64.onnx })
}

const float32s = (values: readonly number[]): Value => constant(tensorFrom('float32', [values.length], values))

/** The first version of Upsample scaled images only, by `width_scale` and `height_scale`. */
const namedScales: Rewrite = (node) => {
  const { width_scale = 1, height_scale = 1, mode, ...attributes } = node.attributes
  return {
    ...node,
    attributes: {
      ...attributes,
      scales: [1, 1, Number(height_scale), Number(width_scale)],
      mode: mode === 'bilinear' ? 'linear' : 'nearest',
    },
  }
}

const scalesToInput: Rewrite = (node) => {
  const { scales, ...attributes } = node.attributes
  if (scales === undefined) return node
  return { ...node, attributes, inputs: [node.inputs[0] ?? null, float32s(scales as readonly number[])] }
}

/**
 * Before operator set 11 output i was at input coordinate i / scale. Nearest neighbors were rounded up on axes that
 * shrink, and down on the others.
 */
const asymmetric: Rewrite = (node) => {
  const [x = null, scales = null] = node.inputs
  const resized = (scales: Value | null, nearest_mode: string): OldNode => ({
    ...node,
    inputs: [x, null, scales],
    attributes: { ...node.attributes, coordinate_transformation_mode: 'asymmetric', nearest_mode },
  })
  if ((node.attributes.mode ?? 'nearest') !== 'nearest' || !x || !scales) return resized(scales, 'floor')
  const known = knownNumbers(scales)
  if (known?.every((scale) => scale >= 1)) return resized(scales, 'floor')
  if (known?.every((scale) => scale <= 1)) return resized(scales, 'ceil')
  const nearest = (x: Value, scales: Value, nearest_mode: string) =>
    op.Resize(x, null, scales, null, { coordinate_transformation_mode: 'asymmetric', nearest_mode })
  const [shrinking, growing] = known
    ? [float32s(known.map((scale) => Math.min(scale, 1))), float32s(known.map((scale) => Math.max(scale, 1)))]
    : [op.Min([scales, scalar('float32', 1)]), op.Max([scales, scalar('float32', 1)])]
  return [nearest(nearest(x, shrinking, 'ceil'), growing, 'floor')]
}

/** Since operator set 13 inputs may be absent; before, they were empty tensors. */
const emptyToAbsent: Rewrite = (node) => ({
  ...node,
  inputs: node.inputs.map((value, index) => (index > 0 && value !== null && vectorLength(value) === 0 ? null : value)),
})

/** Exporters wrote these coordinates after operator set 13 too, and onnxruntime still accepts them. */
const withoutTfHalfPixel: Rewrite = (node) =>
  node.attributes.coordinate_transformation_mode === 'tf_half_pixel_for_nn' ? tfHalfPixelForNearest(node) : node

export const resizeUpgrades: Upgrades = {
  Upsample: { 7: namedScales, 9: scalesToInput, 10: (node) => ({ ...node, operator: 'Resize' }) },
  Resize: { 11: asymmetric, 13: emptyToAbsent, 18: withoutTfHalfPixel },
}
