import { dtypes } from '../ir/dtype.js'
import { constant, input, tensorFrom } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import { findLogits } from './binary-cross-entropy.js'
import { classWeightsConstant, findClassScores, weighLabels } from './class-scores.js'
import { type Comparison, findOutput, type Loss, type LossGraph, toFullPrecision } from './loss.js'
import {
  checkLossNames,
  checkNonNegativeList,
  countAndWeight,
  type LossWeightOptions,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of `dice` and `jaccard`. */
export interface OverlapOptions extends LossWeightOptions {
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
  /** Whether every logit is the answer yes or no of its pixel: one mask per example. Default false. */
  readonly binary?: boolean
  /** Number > 0 that is added to both sides of the fraction, so that an empty mask is defined. Default 1. */
  readonly smooth?: number
  /** Weight >= 0 of every class, 0 for a background; not with `binary`. Default: all weights are 1. */
  readonly classWeights?: readonly number[]
  /** Axis of the classes: 1 for [N, C, H, W]. Default: the axis of the bypassed Softmax, else the last. */
  readonly axis?: number
  /** Label of pixels to ignore; not with `binary`. Default: none. */
  readonly ignoreIndex?: number
}

/**
 * Dice loss for segmentation (Milletari et al. 2016, arXiv 1606.04797): 1 minus the Dice coefficient of every example
 * and class, averaged over classes and examples:
 *
 *     l = 1 - (2 sum p t + smooth) / (sum p + sum t + smooth)
 *
 * summed over the pixels of the example, with probabilities p and targets t of 0 and 1. `mask` weighs pixels;
 * `sampleWeights` weigh examples. It is no log-likelihood: IRE needs `curvature: 'hutchinson'` or 'empirical'.
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 * @example
 * ```ts
 * combine({ pixels: { loss: crossEntropy({ axis: 1 }) }, shape: { loss: dice({ axis: 1, labels: 'masks' }) } })
 * ```
 */
export const dice = (options: OverlapOptions = {}): Loss =>
  overlapLoss('dice', (both, p, t) => [op.Mul(both, 2), op.Add(p, t)], options)

/**
 * Jaccard loss for segmentation: 1 minus the intersection over union of every example and class, averaged over classes
 * and examples:
 *
 *     l = 1 - (sum p t + smooth) / (sum p + sum t - sum p t + smooth)
 *
 * with sums, weights and curvature as in `dice`.
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 */
export const jaccard = (options: OverlapOptions = {}): Loss =>
  overlapLoss('jaccard', (both, p, t) => [both, op.Sub(op.Add(p, t), both)], options)

/** Numerator and denominator of an overlap by the sums of p t, p and t. */
type Fraction = (both: Value, p: Value, t: Value) => readonly [Value, Value]

function overlapLoss(name: string, fraction: Fraction, options: OverlapOptions): Loss {
  checkLossNames(name, options, ['logits', 'labels', 'binary', 'smooth', 'classWeights', 'axis', 'ignoreIndex'])
  const { binary = false, smooth = 1, classWeights } = options
  if (!(smooth > 0 && Number.isFinite(smooth)))
    throw new OnnxIreError('invalid-option', `${name}: option 'smooth' is ${smooth}; it must be a number > 0`)
  checkNonNegativeList(name, 'classWeights', classWeights)
  const misplaced = (['classWeights', 'axis', 'ignoreIndex'] as const).find((each) => options[each] !== undefined)
  if (binary && misplaced)
    throw new OnnxIreError(
      'invalid-option',
      `${name}: option '${misplaced}' is for classes; with 'binary' use 'mask' or 'sampleWeights'`,
    )
  return {
    name,
    build(outputs) {
      const { p, t, classAxis, classWeights, ...pixels } = (binary ? findMasks : findClassMasks)(outputs, options, name)
      const rank = p.shape!.length
      const axes = Array.from({ length: rank }, (_, i) => i).filter((axis) => axis !== 0 && axis !== classAxis)
      const { weights } = pixels
      const total = (x: Value) => {
        const weighted = weights ? op.Mul(x, weights) : x
        return axes.length === 0 ? weighted : op.ReduceSum(weighted, axes, { keepdims: 0 })
      }
      const [above, below] = fraction(total(op.Mul(p, t)), total(p), total(t))
      const each = op.Sub(1, op.Div(op.Add(above, smooth), op.Add(below, smooth)))
      const losses =
        classAxis === undefined
          ? each
          : classWeights
            ? op.Div(
                op.ReduceSum(op.Mul(each, classWeights), [1], { keepdims: 0 }),
                op.ReduceSum(classWeights, { keepdims: 0 }),
              )
            : op.ReduceMean(each, [1], { keepdims: 0 })
      const { sampleWeights } = options
      const weighting = weighTargets(losses, p, sampleWeights === undefined ? {} : { sampleWeights }, name)
      return {
        loss: weightedMean(losses, weighting),
        targets: mergeInputs(pixels.targets, weighting.inputs, name),
        ...(pixels.labels && { labels: pixels.labels }),
        ...countAndWeight(weighting),
        predictions: new Map([['', pixels.comparison]]),
      }
    },
  }
}

/** Probabilities and targets of the pixels. */
interface Masks extends Pick<LossGraph, 'targets' | 'labels'> {
  readonly p: Value
  /** 0 or 1 (or between), with the shape of `p`. */
  readonly t: Value
  /** Axis of the classes in `p`; undefined for one mask per example. */
  readonly classAxis?: number
  readonly classWeights?: Value | null
  /** Weights of the pixels, which broadcast to `p`; null if all are 1. */
  readonly weights: Value | null
  readonly comparison: Comparison
}

function findMasks(outputs: ReadonlyMap<string, Value>, options: OverlapOptions, loss: string): Masks {
  const z = toFullPrecision(findLogits(findOutput(outputs, options.logits, loss), loss))
  if (!z.shape || z.shape.length === 0) throw noExamples(z, loss)
  const given = input(options.labels ?? 'labels', z.dtype, z.shape)
  const { mask, weights, inputs } = weighTargets(given, z, pixelWeights(options), loss)
  const targets = mask ? op.Where(mask, given, 0) : given
  return {
    p: op.Sigmoid(z),
    t: targets,
    weights,
    targets: mergeInputs(new Map([[given.name!, given]]), inputs, loss),
    comparison: { kind: 'binary', logits: z, targets, mask },
  }
}

function findClassMasks(outputs: ReadonlyMap<string, Value>, options: OverlapOptions, loss: string): Masks {
  const scores = findClassScores(outputs, options.logits, options.axis, loss)
  const { z, logP, axis, shape } = scores
  if (axis === 0) throw noExamples(z, loss)
  const classes = shape[axis]
  if (typeof classes !== 'number')
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: this loss needs a static number of classes, but the class axis of the output is '${classes}'; fix its length in the model`,
    )
  const name = options.labels ?? 'labels'
  const pixels: OverlapOptions = pixelWeights(options)
  const ignored = options.ignoreIndex === undefined ? {} : { ignoreIndex: options.ignoreIndex }
  const { labels, all, graph, comparison } = weighLabels(scores, name, { ...pixels, ...ignored }, loss)
  const numbers = constant(
    tensorFrom(
      'int64',
      shape.map((_, i) => (i === axis ? classes : 1)),
      Array.from({ length: classes }, (_, c) => c),
    ),
  )
  return {
    p: op.Exp(logP),
    t: op.Cast(op.Equal(op.Unsqueeze(labels, [axis]), numbers), { to: dtypes[z.dtype].onnx }),
    classAxis: axis,
    classWeights: classWeightsConstant(options.classWeights, scores, loss),
    weights: all.weights && op.Unsqueeze(all.weights, [axis]),
    targets: graph.targets,
    labels: graph.labels,
    comparison,
  }
}

/** The weights of pixels: those of examples are applied to their losses. */
const pixelWeights = ({ mask }: OverlapOptions): LossWeightOptions => (mask === undefined ? {} : { mask })

const noExamples = ({ shape }: Value, loss: string): OnnxIreError =>
  new OnnxIreError(
    'invalid-option',
    `${loss}: the logits have the shape ${formatShape(shape)}; they need a leading axis of examples that is not the class axis`,
  )

function mergeInputs(
  first: ReadonlyMap<string, Value>,
  second: ReadonlyMap<string, Value>,
  loss: string,
): ReadonlyMap<string, Value> {
  const twice = [...second.keys()].find((name) => first.has(name))
  if (twice === undefined) return new Map([...first, ...second])
  throw new OnnxIreError('invalid-option', `${loss}: two inputs have the name '${twice}'; rename one of them`)
}
