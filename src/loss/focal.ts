import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNumber, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { elementLoss, findLogits } from './binary-cross-entropy.js'
import { findClassScores, negativeLogLikelihood, weighLabels } from './class-scores.js'
import { findOutput, type Loss, type LossGraph, toFullPrecision } from './loss.js'
import {
  checkLossNames,
  checkNonNegativeList,
  countAndWeight,
  type LossWeightOptions,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of `focal`. */
export interface FocalOptions extends LossWeightOptions {
  /**
   * Output of the model that holds the logits. A trailing Softmax, LogSoftmax or (`binary`) Sigmoid is recognized and
   * bypassed. Default: the only output.
   */
  readonly logits?: string
  /**
   * Name of the data's labels: int64, the logits' shape without the class axis; with `binary` floats of the logits'
   * shape. Default 'labels'.
   */
  readonly labels?: string
  /** Whether every logit is a yes-or-no question with a target in [0, 1], as in detectors. Default false. */
  readonly binary?: boolean
  /** Exponent gamma >= 0; with 0 the loss is the cross-entropy. Default 2. */
  readonly gamma?: number
  /** Weight of positive targets in [0, 1], with 1 - alpha for negative ones; with `binary` only. Default: none. */
  readonly alpha?: number
  /** Weight >= 0 of every class; not with `binary`. Default: all weights are 1. */
  readonly classWeights?: readonly number[]
  /** Axis of the classes: 1 for [N, C, H, W]. Default: the axis of the bypassed Softmax, else the last. */
  readonly axis?: number
  /** Label of examples (or positions) to ignore; not with `binary`. Default: none. */
  readonly ignoreIndex?: number
}

/**
 * Focal loss (Lin et al. 2017, arXiv 1708.02002): cross-entropy in which targets that are predicted well count less,
 * for rare classes. For the probability p of the true class or answer:
 *
 *     l = -(1 - p)^gamma log p
 *
 * averaged as in `crossEntropy`, with `binary` as in `binaryCrossEntropy` times alpha t + (1 - alpha) (1 - t), which
 * follows torchvision's sigmoid_focal_loss
 * (https://docs.pytorch.org/vision/stable/generated/torchvision.ops.sigmoid_focal_loss.html) with reduction 'mean'. It
 * is no log-likelihood: IRE needs `curvature: 'hutchinson'` or 'empirical'.
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 */
export function focal(options: FocalOptions = {}): Loss {
  const own = ['logits', 'labels', 'binary', 'gamma', 'alpha', 'classWeights', 'axis', 'ignoreIndex']
  checkLossNames('focal', options, own)
  const { binary = false, gamma = 2, alpha, classWeights } = options
  checkNumber('focal', 'gamma', gamma, nonNegative)
  checkNonNegativeList('focal', 'classWeights', classWeights)
  if (alpha !== undefined && !(alpha >= 0 && alpha <= 1))
    throw new OnnxIreError('invalid-option', `focal: option 'alpha' is ${alpha}; it must be a number from 0 to 1`)
  const misplaced = (binary ? (['classWeights', 'axis', 'ignoreIndex'] as const) : (['alpha'] as const)).find(
    (name) => options[name] !== undefined,
  )
  if (misplaced)
    throw new OnnxIreError(
      'invalid-option',
      binary
        ? `focal: option '${misplaced}' is for classes; with 'binary' use 'alpha' or 'mask'`
        : "focal: option 'alpha' needs 'binary'; use 'classWeights'",
    )
  return {
    name: 'focal',
    build: (outputs) => (binary ? buildBinary(outputs, gamma, options) : buildClasses(outputs, gamma, options)),
  }
}

function buildClasses(outputs: ReadonlyMap<string, Value>, gamma: number, options: FocalOptions): LossGraph {
  const scores = findClassScores(outputs, options.logits, options.axis, 'focal')
  const { labels, all, graph, comparison } = weighLabels(scores, options.labels ?? 'labels', options, 'focal')
  const nll = negativeLogLikelihood(scores, labels)
  return {
    ...graph,
    loss: weightedMean(op.Mul(focus(op.Sub(1, op.Exp(op.Neg(nll))), gamma), nll), all),
    predictions: new Map([['', comparison]]),
  }
}

function buildBinary(outputs: ReadonlyMap<string, Value>, gamma: number, options: FocalOptions): LossGraph {
  const z = toFullPrecision(findLogits(findOutput(outputs, options.logits, 'focal'), 'focal'))
  const given = input(options.labels ?? 'labels', z.dtype, z.shape)
  const weighting = weighTargets(given, z, options, 'focal')
  const { mask } = weighting
  const targets = mask ? op.Where(mask, given, 0) : given
  const isNo = op.Sub(1, targets)
  // 1 - p of the true answer.
  const wrong = op.Add(op.Mul(op.Sigmoid(z), isNo), op.Mul(op.Sigmoid(op.Neg(z)), targets))
  const losses = op.Mul(focus(wrong, gamma), elementLoss(z, targets, null))
  const { alpha } = options
  const balance = alpha === undefined ? null : op.Add(op.Mul(targets, alpha), op.Mul(isNo, 1 - alpha))
  return {
    loss: weightedMean(balance ? op.Mul(losses, balance) : losses, weighting),
    targets: targetInputs(given, weighting, 'focal'),
    ...countAndWeight(weighting),
    predictions: new Map([['', { kind: 'binary', logits: z, targets, mask }]]),
  }
}

/** x^gamma, with a lower limit of x: the slope at 0 is infinite for gamma < 1. */
const focus = (x: Value, gamma: number): Value => op.Pow(op.Clip(x, 1e-7, 1), gamma)
