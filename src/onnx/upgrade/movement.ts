import { int64s } from '../../ir/leaf.js'
import { op } from '../../op/op.js'
import { attributeToInput, type Upgrade, type Upgrades } from './upgrade.js'

/** The target became an input (and `consumed_inputs` went). */
const shapeToInput: Upgrade = (node) =>
  attributeToInput('shape', 1)({ ...node, attributes: withoutConsumed(node.attributes) })

const withoutConsumed = ({ consumed_inputs: _, ...attributes }: Parameters<Upgrade>[0]['attributes']) => attributes

/** Tile repeated along one axis, both given as tensors; now there is a number of repeats for every axis. */
const repeatsOfEveryAxis: Upgrade = (node) => {
  const [x, tiles, axis] = node.inputs
  if (!x || !tiles || !axis) return node
  const once = op.Expand(int64s([1]), op.Shape(op.Shape(x)))
  return { ...node, inputs: [x, op.ScatterElements(once, op.Reshape(axis, [1]), op.Reshape(tiles, [1]))] }
}

export const movementUpgrades: Upgrades = {
  Reshape: { 5: shapeToInput },
  Squeeze: { 13: attributeToInput('axes', 1) },
  Unsqueeze: { 13: attributeToInput('axes', 1) },
  Tile: { 6: repeatsOfEveryAxis },
}
