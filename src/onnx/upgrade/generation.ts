import { dtypes } from '../../ir/dtype.js'
import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import { op } from '../../op/op.js'
import { type Upgrade, type Upgrades, withoutAttributes } from './upgrade.js'

/** Until operator set 6 Dropout was at work unless `is_test` said otherwise; from 7 on it passes everything. */
const testAttribute: Upgrade = (node) => {
  const { is_test, ratio = 0.5, ...attributes } = node.attributes
  const [x] = node.inputs
  if (is_test === 1 || !x) return { ...node, attributes: { ...attributes, ratio } }
  const [y, mask] = op.Dropout(x, scalar(x.dtype, Number(ratio)), constant(tensorFrom('bool', [], [1])))
  return [y, op.Cast(mask, { to: dtypes[x.dtype].onnx })]
}

/** The mask, of the type of `x` before, became truth values. */
const booleanMask: Upgrade = (node) => {
  const [x] = node.inputs
  if (node.outputCount < 2 || !x) return node
  const [y, mask] = op.Dropout(x)
  return [y, op.Cast(mask, { to: dtypes[x.dtype].onnx })]
}

const ratioToInput: Upgrade = (node) => {
  const { ratio, ...attributes } = node.attributes
  const [x] = node.inputs
  const given = typeof ratio === 'number' && x ? scalar(x.dtype, ratio) : null
  return { ...node, attributes, inputs: [x ?? null, given] }
}

export const generationUpgrades: Upgrades = {
  Dropout: { 6: withoutAttributes('consumed_inputs'), 7: testAttribute, 10: booleanMask, 12: ratioToInput },
}
