import { int64s } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { type Upgrade, type Upgrades, withoutAttributes } from './upgrade.js'

/** `spatial` 0 asked for statistics per element of a sample; version 9 dropped it for good. */
const spatialOnly: Upgrade = (node) => {
  if (node.attributes['spatial'] === 0) {
    throw new OnnxIreError(
      'unsupported-operator',
      'BatchNormalization with spatial = 0 (statistics per element) left ONNX with operator set 9; export the model with one statistic per channel',
    )
  }
  return withoutAttributes('spatial')(node)
}

/** Before version 14 training was asked for by naming more than one output: running mean and variance, batch mean and variance. */
const trainingByOutputs: Upgrade = (node) => {
  if (node.outputCount <= 1) return node
  const [x, scale, bias, mean, variance] = node.inputs as readonly Value[]
  const outputs = op.BatchNormalization(x!, scale!, bias!, mean!, variance!, { ...node.attributes, training_mode: 1 })
  if (node.outputCount <= 3) return outputs
  const flat = op.Reshape(x!, [0, 0, -1])
  const batchMean = op.ReduceMean(flat, [0, 2], { keepdims: 1 })
  const centered = op.Sub(flat, batchMean)
  const batchVariance = op.ReduceMean(op.Mul(centered, centered), [0, 2], { keepdims: 0 })
  return [...outputs, op.Squeeze(batchMean, [0, 2]), batchVariance]
}

/** Scale and bias per group become per channel: each is repeated for the channels of its group. */
const perChannel: Upgrade = (node) => {
  const [x, scale, bias] = node.inputs as readonly Value[]
  const groups = node.attributes['num_groups'] as number
  const perGroup = op.Div(op.Shape(x!, { start: 1, end: 2 }), groups)
  const repeated = (affine: Value) =>
    op.Reshape(op.Expand(op.Unsqueeze(affine, [1]), op.Concat([int64s([groups]), perGroup], { axis: 0 })), [-1])
  return { ...node, inputs: [x!, repeated(scale!), repeated(bias!)] }
}

export const normalizationUpgrades: Upgrades = {
  BatchNormalization: {
    6: withoutAttributes('consumed_inputs'),
    7: withoutAttributes('is_test'),
    9: spatialOnly,
    14: trainingByOutputs,
  },
  InstanceNormalization: { 6: withoutAttributes('consumed_inputs') },
  GroupNormalization: { 21: perChannel },
}
