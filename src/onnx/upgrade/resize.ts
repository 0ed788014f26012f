import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { knownNumbers, lengthOf } from '../../op/contents.js'
import { op } from '../../op/op.js'
import { tfHalfPixelForNearest } from './half-pixel.js'
import type { OldNode, Upgrade, Upgrades } from './upgrade.js'

const float32s = (values: readonly number[]): Value => constant(tensorFrom('float32', [values.length], values))

/** The first version scaled images only, by a factor for each axis with a name of its own. */
const namedScales: Upgrade = (node) => {
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

const scalesToInput: Upgrade = (node) => {
  const { scales, ...attributes } = node.attributes
  if (scales === undefined) return node
  const factors = scales as readonly number[]
  return {
    ...node,
    attributes,
    inputs: [node.inputs[0] ?? null, float32s(factors)],
  }
}

/** Until version 11 output i lay at i / scale; nearest neighbours were rounded up on axes that shrink, and down on the others. */
const asymmetric: Upgrade = (node) => {
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

/** Inputs may be left out; before, empty tensors stood for that. */
const emptyToAbsent: Upgrade = (node) => ({
  ...node,
  inputs: node.inputs.map((value, index) => (index > 0 && value !== null && lengthOf(value) === 0 ? null : value)),
})

/** Exporters wrote these coordinates after version 13 too, and onnxruntime went on reading them. */
const withoutTfHalfPixel: Upgrade = (node) =>
  node.attributes.coordinate_transformation_mode === 'tf_half_pixel_for_nn' ? tfHalfPixelForNearest(node) : node

export const resizeUpgrades: Upgrades = {
  Upsample: { 7: namedScales, 9: scalesToInput, 10: (node) => ({ ...node, operator: 'Resize' }) },
  Resize: { 11: asymmetric, 13: emptyToAbsent, 18: withoutTfHalfPixel },
}
