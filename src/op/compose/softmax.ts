import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { softmax } from '../definitions/softmax.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'

interface LossAttributes {
  readonly ignore_index: number | undefined
  readonly reduction: string
}

/**
 * -weight[target] * input[target]; the mean divides by the sum of the weights; positions labeled ignore_index have
 * weight 0.
 */
function negativeLogLikelihood(
  input: Value,
  target: Value,
  weight: Value | null,
  { ignore_index, reduction }: LossAttributes,
): Value {
  const ignored = ignore_index === undefined ? undefined : op.Equal(target, ignore_index)
  const labels = ignored ? op.Where(ignored, 0, target) : target
  const losses = op.Neg(op.Squeeze(op.GatherElements(input, op.Unsqueeze(labels, [1]), { axis: 1 }), [1]))
  const ones = op.Expand(scalar(input.dtype, 1), op.Shape(labels))
  const given = weight ? op.Gather(weight, labels) : ones
  const weights = ignored ? op.Where(ignored, 0, given) : given
  const weighted = weight || ignored ? op.Mul(losses, weights) : losses
  if (reduction === 'none') return weighted
  if (reduction === 'mean' && !weight && !ignored) return op.ReduceMean(losses, null, { keepdims: 0 })
  const total = op.ReduceSum(weighted, null, { keepdims: 0 })
  return reduction === 'sum' ? total : op.Div(total, op.ReduceSum(weights, null, { keepdims: 0 }))
}

export const softmaxExpansions = {
  NegativeLogLikelihoodLoss: ([input, target, weight], attributes) =>
    negativeLogLikelihood(input, target, weight, attributes),
  SoftmaxCrossEntropyLoss: ([scores, labels, weights], attributes) => {
    const logProb = op.LogSoftmax(scores, { axis: 1 })
    return [negativeLogLikelihood(logProb, labels, weights, attributes), logProb]
  },
} satisfies Expansions<typeof softmax>
