import { input, scalar } from '../ir/leaf.js'
import { unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { belowOne, checkNumber } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import {
  alongClasses,
  checkWeights,
  negativeLogLikelihood,
  perClassWeights,
  type Scores,
  sampledLabels,
  scoresOf,
} from './categorical.js'
import type { Loss, LossGraph } from './loss.js'
import { softLabels } from './soft-labels.js'
import { reported, sum, targetInputs, type WeightOptions, weighed, weightedMean } from './weights.js'

export interface CrossEntropyOptions extends WeightOptions {
  /** The output that holds the logits. A trailing Softmax or LogSoftmax there is recognised and bypassed. Default: the only output. */
  readonly logits?: string
  /**
   * The name under which the data gives the labels: int64, the logits' shape without the class axis; floats of the
   * logits' shape with `probabilities`. Default 'labels'.
   */
  readonly labels?: string
  /** The axis of the classes. Default: that of the bypassed Softmax, else the last; 1 for [N, C, H, W]. */
  readonly axis?: number
  /** Labels are distributions over the classes, as mixup, distillation and soft labels give. Default false. */
  readonly probabilities?: boolean
  /** Share of the target spread evenly over all classes, in [0, 1). Default 0. */
  readonly labelSmoothing?: number
  /** A weight >= 0 for every class. Default: all weigh 1. */
  readonly classWeights?: readonly number[]
  /** A label that marks examples (or positions) to leave out, padding for instance. Not with `probabilities`. Default: none. */
  readonly ignoreIndex?: number
}

/**
 * Softmax cross-entropy from logits in nats, the weighted mean over all labels that are not left out:
 * sum_i v_i l_i / sum_i v_i w[y_i], l_i = -(1 - s) w[y] log p[y] - s mean_c w[c] log p[c], p = softmax(z), s the label
 * smoothing, w the class weights, v the sample weight times the mask. With `probabilities` t,
 * l_i = -(1 - s) sum_c w[c] t[c] log p[c] - s mean_c w[c] log p[c], and w stays out of the denominator. Both as PyTorch's
 * cross_entropy (https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html).
 *
 * Its labels are sampled as the arg-max of z plus standard Gumbel noise, which is a draw from softmax(z).
 * Throws `invalid-option`; when built, also `invalid-shape`.
 */
export function crossEntropy(options: CrossEntropyOptions = {}): Loss {
  const { labelSmoothing = 0, classWeights, probabilities = false, ignoreIndex, labels = 'labels' } = options
  checkNumber('crossEntropy', 'labelSmoothing', labelSmoothing, belowOne)
  checkWeights('crossEntropy', 'classWeights', classWeights)
  if (probabilities && ignoreIndex !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      'crossEntropy: ignoreIndex marks class numbers, and with probabilities there are none; leave targets out with mask',
    )
  return {
    name: 'cross-entropy',
    build(outputs) {
      const scores = scoresOf(outputs, options.logits, options.axis, 'crossEntropy')
      return probabilities ? softLabels(scores, labels, options, 'crossEntropy') : classLabels(scores, labels, options)
    },
  }
}

function classLabels(scores: Scores, name: string, options: CrossEntropyOptions): LossGraph {
  const { labelSmoothing = 0, ignoreIndex } = options
  const { z, logP, axis, shape } = scores
  const labels = input(name, 'int64', shape.toSpliced(axis, 1))
  const marked = ignoreIndex === undefined ? null : op.Not(op.Equal(labels, scalar('int64', ignoreIndex)))
  const weighing = weighed(labels, z, options, 'crossEntropy', marked)
  const { kept, weights: given, count } = weighing
  const known = kept ? op.Where(kept, labels, scalar('int64', 0)) : labels
  const classWeights = perClassWeights(options.classWeights, scores, 'crossEntropy')
  // w[y], and with the other weights what a label weighs in all.
  const ofLabel = classWeights && op.Gather(classWeights, known)
  const weights = ofLabel && given ? op.Mul(ofLabel, given) : (ofLabel ?? given)
  const weighted = { weights, count, total: ofLabel && weights ? sum(weights) : weighing.total }

  const nll = negativeLogLikelihood(scores, known)
  const smoothed = (): Value => {
    const spread = classWeights ? op.Mul(logP, alongClasses(classWeights, scores)) : logP
    const certain = op.Mul(ofLabel ? op.Mul(nll, ofLabel) : nll, 1 - labelSmoothing)
    return op.Sub(certain, op.Mul(op.ReduceMean(spread, [axis], { keepdims: 0 }), labelSmoothing))
  }
  return {
    loss:
      labelSmoothing === 0 ? weightedMean(nll, weighted) : weightedMean(smoothed(), { ...weighted, weights: given }),
    targets: targetInputs(labels, weighing, 'crossEntropy'),
    labels: new Map([[name, { classes: shape[axis] ?? unknownDim(), ignoreIndex }]]),
    ...reported(weighted),
    compared: new Map([['', { kind: 'classes', logits: z, axis, labels, kept }]]),
    sampled: sampledLabels(scores, name, weighted),
  }
}
