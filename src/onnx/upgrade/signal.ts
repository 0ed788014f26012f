import { scalar } from '../../ir/leaf.js'
import type { Upgrade, Upgrades } from './upgrade.js'

/** The axis, 1 where not given, became an input. */
const axisToInput: Upgrade = (node) => {
  const { axis = 1, ...attributes } = node.attributes
  const [x = null, length = null] = node.inputs
  return { ...node, attributes, inputs: [x, length, scalar('int64', Number(axis))] }
}

export const signalUpgrades: Upgrades = {
  DFT: { 20: axisToInput },
}
