import { int64s } from '../../ir/leaf.js'
import { attributeToInput, type Upgrade, type Upgrades } from './upgrade.js'

const axesToInput = attributeToInput('axes', 1)
const since18 = ['Mean', 'Max', 'Min', 'Prod', 'L1', 'L2', 'LogSum', 'LogSumExp', 'SumSquare']

const countToInput: Upgrade = (node) => {
  const { k, ...attributes } = node.attributes
  const [x] = node.inputs
  return { ...node, attributes, inputs: [x ?? null, typeof k === 'number' ? int64s([k]) : null] }
}

export const reductionUpgrades: Upgrades = {
  ReduceSum: { 13: axesToInput },
  ...Object.fromEntries(since18.map((kind) => [`Reduce${kind}`, { 18: axesToInput }])),
  TopK: { 10: countToInput },
}
