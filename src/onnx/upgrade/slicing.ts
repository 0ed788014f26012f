import { int64s, scalar } from '../../ir/leaf.js'
import { attributeToInput, type OldNode, type Upgrade, type Upgrades } from './upgrade.js'

/** Concat's axis had the default 1 until operator set 4 demanded it. */
const axisGiven: Upgrade = (node) => ({ ...node, attributes: { axis: 1, ...node.attributes } })

/** starts, ends and axes became inputs. */
const boundsToInputs: Upgrade = (node) => {
  const { starts, ends, axes, ...attributes } = node.attributes
  const [x = null] = node.inputs
  const bound = (values: OldNode['attributes'][string] | undefined) =>
    values === undefined ? null : int64s(values as readonly number[])
  return { ...node, attributes, inputs: [x, bound(starts), bound(ends), bound(axes)] }
}

const paddingsToPads: Upgrade = (node) => {
  const { paddings, ...attributes } = node.attributes
  return { ...node, attributes: paddings === undefined ? attributes : { pads: paddings, ...attributes } }
}

/** pads and value became inputs, the value of the operand's type. */
const padsToInputs: Upgrade = (node) => {
  const { pads, value = 0, ...attributes } = node.attributes
  const [x = null] = node.inputs
  const constant = x && value !== 0 ? scalar(x.dtype, value as number) : null
  return { ...node, attributes, inputs: [x, pads === undefined ? null : int64s(pads as readonly number[]), constant] }
}

/** Parts of equal length: as many as there were outputs, later as many as num_outputs says. */
const equalParts: Upgrade = (node) =>
  node.inputs[1] || 'num_outputs' in node.attributes
    ? node
    : { ...node, attributes: { ...node.attributes, num_outputs: node.outputCount } }

export const slicingUpgrades: Upgrades = {
  Concat: { 4: axisGiven },
  Slice: { 10: boundsToInputs },
  Pad: { 2: paddingsToPads, 11: padsToInputs },
  Split: { 13: attributeToInput('split', 1), 18: equalParts },
}
