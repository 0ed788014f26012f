import { constant, tensorFrom } from '../../ir/leaf.js'
import { knownNumbers, lengthOf } from '../../op/known.js'
import type { Upgrade, Upgrades } from './upgrade.js'

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
    inputs: [node.inputs[0] ?? null, constant(tensorFrom('float32', [factors.length], factors))],
  }
}

/** Until version 11 output i lay at i / scale; nearest neighbours were rounded down, and up where the tensor shrinks. */
const asymmetric: Upgrade = (node) => {
  const [x = null, scales = null] = node.inputs
  const shrinks = knownNumbers(scales)?.some((scale) => scale < 1) ?? false
  const attributes = {
    ...node.attributes,
    coordinate_transformation_mode: 'asymmetric',
    nearest_mode: shrinks ? 'ceil' : 'floor',
  }
  return { ...node, inputs: [x, null, scales], attributes }
}

/** Inputs may be left out; before, empty tensors stood for that. */
const emptyToAbsent: Upgrade = (node) => ({
  ...node,
  inputs: node.inputs.map((value, index) => (index > 0 && value !== null && lengthOf(value) === 0 ? null : value)),
})

export const resizeUpgrades: Upgrades = {
  Upsample: { 7: namedScales, 9: scalesToInput, 10: (node) => ({ ...node, operator: 'Resize' }) },
  Resize: { 11: asymmetric, 13: emptyToAbsent },
}
