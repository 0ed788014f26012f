import { axisOf, broadcastShapes, formatShape, type Shape } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { define, int, string, zero } from '../define.js'
import { perInput, size } from '../flops.js'

function alongAxis(x: Value, axis: number): TensorType {
  if (x.shape && x.shape.length > 0) axisOf(axis, x.shape.length)
  return x
}

/** Scores are [N, C, d1 ...], labels [N, d1 ...]; the loss has the labels' shape, or none when it is reduced. */
function lossShape(scores: Value, labels: Value, weights: Value | null, reduction: string): Shape | undefined {
  if (!['none', 'mean', 'sum'].includes(reduction)) {
    throw new OnnxIreError('invalid-model', `reduction is 'none', 'mean' or 'sum', not '${reduction}'`)
  }
  if (scores.shape && scores.shape.length < 2)
    throw new OnnxIreError('invalid-shape', 'scores need the axes [N, C, ...]')
  const positions = scores.shape && [scores.shape[0]!, ...scores.shape.slice(2)]
  if (positions && labels.shape && labels.shape.length !== positions.length) {
    throw new OnnxIreError(
      'invalid-shape',
      `labels ${formatShape(labels.shape)} are not one for each of ${formatShape(positions)}`,
    )
  }
  if (weights?.shape && weights.shape.length !== 1)
    throw new OnnxIreError('invalid-shape', 'weights are one number per class')
  const shape = labels.shape && positions ? broadcastShapes([labels.shape, positions]) : (labels.shape ?? positions)
  return reduction === 'none' ? shape : []
}

const reduction = string('mean')
const ignore_index = int.optional

export const softmax = {
  Softmax: define({
    inputs: ['x'],
    attributes: { axis: int(-1) },
    since: 13,
    keepsClasses: true,
    // max, x - max, exp, sum, quotient
    flops: perInput(5),
    infer: ({ inputs: [x], attributes: { axis } }) => alongAxis(x, axis),
  }),
  LogSoftmax: define({
    inputs: ['x'],
    attributes: { axis: int(-1) },
    since: 13,
    keepsClasses: true,
    flops: perInput(5),
    infer: ({ inputs: [x], attributes: { axis } }) => alongAxis(x, axis),
  }),
  Hardmax: define({
    inputs: ['x'],
    attributes: { axis: int(-1) },
    since: 13,
    gradient: zero('a one-hot of the largest element: constant wherever it is differentiable'),
    flops: perInput(1),
    infer: ({ inputs: [x], attributes: { axis } }) => alongAxis(x, axis),
  }),
  SoftmaxCrossEntropyLoss: define({
    inputs: ['scores', 'labels', 'weights?'],
    outputs: ['output', 'logProb?'],
    attributes: { ignore_index, reduction },
    since: 12,
    acceptsInt32: true,
    flops: ([scores, labels]) => 5 * size(scores) + 2 * size(labels),
    infer: ({ inputs: [scores, labels, weights], attributes }) => [
      { dtype: scores.dtype, shape: lossShape(scores, labels, weights, attributes.reduction) },
      scores,
    ],
  }),
  NegativeLogLikelihoodLoss: define({
    inputs: ['input', 'target', 'weight?'],
    outputs: ['loss'],
    attributes: { ignore_index, reduction },
    since: 12,
    acceptsInt32: true,
    flops: ([, labels]) => 2 * size(labels),
    infer: ({ inputs: [input, target, weight], attributes }) => ({
      dtype: input.dtype,
      shape: lossShape(input, target, weight, attributes.reduction),
    }),
  }),
}
