import { alignedAt } from './legacy-broadcast.js'
import { type Upgrade, type Upgrades, withoutAttributes } from './upgrade.js'

const consumed = withoutAttributes('consumed_inputs')

/** Defaults that operator set 6 wrote with more digits. */
const seluDefaults: Upgrade = (node) => {
  const { alpha, gamma, consumed_inputs: _, ...attributes } = node.attributes
  const [old1, old2] = [Math.fround(1.6732), Math.fround(1.0507)]
  return { ...node, attributes: { ...attributes, alpha: alpha ?? old1, gamma: gamma ?? old2 } }
}

/** Before operator set 7 a slope held one element or one per channel; now it is broadcast, aligned at the end. */
const slopePerChannel: Upgrade = (node) => {
  const [x, slope] = node.inputs
  const perChannel = x && slope?.shape?.length === 1 && slope.shape[0] !== 1
  return perChannel ? { ...node, inputs: [x, alignedAt(node, x, slope, 1)] } : node
}

export const activationUpgrades: Upgrades = {
  Relu: { 6: consumed },
  LeakyRelu: { 6: consumed },
  PRelu: { 6: consumed, 7: slopePerChannel },
  Elu: { 6: consumed },
  Selu: { 6: seluDefaults },
  Sigmoid: { 6: consumed },
  HardSigmoid: { 6: consumed },
}
