import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { belowOne, checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { buildChunkedLoss } from './chunked-cross-entropy.js'
import {
  broadcastAlongClasses,
  type ClassScores,
  classWeightsConstant,
  findClassScores,
  negativeLogLikelihood,
  sampleLabels,
  weighLabels,
} from './class-scores.js'
import type { Loss, LossGraph } from './loss.js'
import {
  checkLossNames,
  checkNonNegativeList,
  countAndWeight,
  type LossWeightOptions,
  multiplyOptional,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of `crossEntropy`. */
export interface CrossEntropyOptions extends LossWeightOptions {
  /**
   * Output of the model that holds the logits. A trailing Softmax or LogSoftmax is recognized and bypassed; of a
   * Softmax in the branches of an If, or of its mean over other axes, the logarithms are the logits. Default: the only
   * output.
   */
  readonly logits?: string
  /**
   * Name of the data's labels: int64, the logits' shape without the class axis; with `probabilities` floats of the
   * logits' shape. Default 'labels'.
   */
  readonly labels?: string
  /** Axis of the classes: 1 for [N, C, H, W]. Default: the axis of the bypassed Softmax, else the last. */
  readonly axis?: number
  /** Whether labels are distributions over the classes, from mixup, distillation or soft labels. Default false. */
  readonly probabilities?: boolean
  /** Label smoothing in [0, 1): the share of each target that is spread evenly over all classes. Default 0. */
  readonly labelSmoothing?: number
  /** Weight >= 0 of every class. Default: all weights are 1. */
  readonly classWeights?: readonly number[]
  /** Label of examples (or positions) to ignore, padding for instance. Not with `probabilities`. Default: none. */
  readonly ignoreIndex?: number
  /**
   * Number of examples (or positions) whose logits are in memory at once, for large vocabularies: the loss and its
   * gradients are computed chunk by chunk from the input of the last matrix product. 'auto': 64 positions, or more as
   * long as they have 2 million logits. The results are the same. Not with `probabilities`, in `combine`, or for second
   * derivatives. Default: all.
   */
  readonly chunk?: number | 'auto'
}

/**
 * Softmax cross-entropy from logits z, in nats: the weighted mean over all labels that are not ignored.
 *
 *     L = sum_i v_i l_i / sum_i v_i w[y_i]
 *     l = -(1 - s) w[y] log p[y] - s mean_c w[c] log p[c],   p = softmax(z)
 *
 * with label smoothing s, class weights w, and v the sample weight times the mask. For labels that are probabilities t:
 *
 *     L = sum_i v_i l_i / sum_i v_i
 *     l = -(1 - s) sum_c w[c] t[c] log p[c] - s mean_c w[c] log p[c]
 *
 * Both follow PyTorch's cross_entropy (https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html).
 * IRE samples labels from softmax(z).
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 * @example
 * ```ts
 * const trainer = await Trainer.create(model, { runtime, loss: crossEntropy({ labelSmoothing: 0.1 }), optimizer: adamw() })
 * ```
 */
export function crossEntropy(options: CrossEntropyOptions = {}): Loss {
  const own = ['logits', 'labels', 'axis', 'probabilities', 'labelSmoothing', 'classWeights', 'ignoreIndex', 'chunk']
  checkLossNames('crossEntropy', options, own)
  const { labelSmoothing = 0, classWeights, probabilities = false, ignoreIndex, labels = 'labels' } = options
  checkNumber('crossEntropy', 'labelSmoothing', labelSmoothing, belowOne)
  checkNonNegativeList('crossEntropy', 'classWeights', classWeights)
  if (probabilities && ignoreIndex !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      "crossEntropy: option 'ignoreIndex' is a class number, but with 'probabilities' labels are none; use 'mask' to ignore targets",
    )
  const { chunk } = options
  if (chunk !== undefined && chunk !== 'auto') checkNumber('crossEntropy', 'chunk', chunk, positiveCount)
  if (probabilities && chunk !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      "crossEntropy: option 'chunk' needs labels that are class numbers: with 'probabilities' they are as large as the logits",
    )
  return {
    name: 'cross-entropy',
    build(outputs) {
      const scores = findClassScores(outputs, options.logits, options.axis, 'crossEntropy')
      return probabilities
        ? buildSoftLabelLoss(scores, labels, options, 'crossEntropy')
        : chunk === undefined
          ? buildLabelLoss(scores, labels, options)
          : buildChunkedLoss(scores, labels, { ...options, chunk })
    },
  }
}

/** Loss of every label: -log p[label], or with smoothing -(1 - s) w[y] log p[y] - s mean_c w[c] log p[c]. */
function labelLosses(
  scores: Pick<ClassScores, 'logP' | 'axis' | 'shape'>,
  nll: Value,
  weights: { readonly labelWeights: Value | null; readonly classWeights: Value | null },
  { labelSmoothing = 0 }: CrossEntropyOptions,
): Value {
  if (labelSmoothing === 0) return nll
  const { logP, axis } = scores
  const { labelWeights, classWeights } = weights
  const spread = classWeights ? op.Mul(logP, broadcastAlongClasses(classWeights, scores)) : logP
  const certain = op.Mul(labelWeights ? op.Mul(nll, labelWeights) : nll, 1 - labelSmoothing)
  return op.Sub(certain, op.Mul(op.ReduceMean(spread, [axis], { keepdims: 0 }), labelSmoothing))
}

/** Builds the cross-entropy against class numbers. */
function buildLabelLoss(scores: ClassScores, name: string, options: CrossEntropyOptions): LossGraph {
  const { labels, all, lossWeights, graph, comparison, ...weights } = weighLabels(scores, name, options, 'crossEntropy')
  const nll = negativeLogLikelihood(scores, labels)
  return {
    ...graph,
    loss: weightedMean(labelLosses(scores, nll, weights, options), lossWeights),
    predictions: new Map([['', comparison]]),
    sampled: sampleLabels(scores, name, all),
  }
}

/** Options of `buildSoftLabelLoss`. */
interface SoftLabelOptions extends LossWeightOptions {
  readonly labelSmoothing?: number
  readonly classWeights?: readonly number[]
  /** Adds sum_c t log t, the negative entropy of the targets: KL divergence instead of cross-entropy. */
  readonly divergence?: boolean
}

/**
 * Builds the cross-entropy against distributions t over the classes: the mean of -(1 - s) sum_c w[c] t[c] log p[c] - s
 * mean_c w[c] log p[c]. Metrics compare with the class of the largest t, the first of equal ones.
 */
export function buildSoftLabelLoss(
  scores: ClassScores,
  name: string,
  options: SoftLabelOptions,
  loss: string,
): LossGraph {
  const { labelSmoothing = 0, divergence = false } = options
  const { z, logP, axis, shape } = scores
  const given = input(name, z.dtype, shape)
  const labels = op.ArgMax(given, { axis, keepdims: 0 })
  const weighting = weighTargets(labels, z, options, loss)
  const { mask, weights, count, total } = weighting
  const t = mask ? op.Where(op.Unsqueeze(mask, [axis]), given, 0) : given
  const classWeights = classWeightsConstant(options.classWeights, scores, loss)
  const weighted = (x: Value) => (classWeights ? op.Mul(x, broadcastAlongClasses(classWeights, scores)) : x)
  const sumOverClasses = (x: Value) => op.ReduceSum(x, [axis], { keepdims: 0 })

  const logRatio = divergence ? op.Sub(logP, safeLog(t)) : logP
  const certain = sumOverClasses(weighted(op.Mul(t, logRatio)))
  const mixed =
    labelSmoothing === 0
      ? certain
      : op.Add(
          op.Mul(certain, 1 - labelSmoothing),
          op.Mul(op.ReduceMean(weighted(logP), [axis], { keepdims: 0 }), labelSmoothing),
        )
  // The Hessian of a target's loss by z is sum_c w[c] t[c] times the Hessian of -log p of any one class.
  const curvature = classWeights && sumOverClasses(weighted(t))
  return {
    loss: weightedMean(op.Neg(mixed), { weights, count, total }),
    targets: targetInputs(given, weighting, loss),
    ...countAndWeight(weighting),
    predictions: new Map([['', { kind: 'classes', logits: z, axis, labels, mask }]]),
    sampled: sampleLabels(scores, name, { weights: multiplyOptional(curvature, weights), count, total }),
  }
}

/** log t, and 0 for t = 0, so that t log t is 0. */
const safeLog = (t: Value): Value => op.Log(op.Where(op.Greater(t, 0), t, 1))
