import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { sum } from '../util/statistics.js'
import {
  checkThreshold,
  classCount,
  columnCount,
  type DecisionComparison,
  type Decisions,
  decide,
  histogram,
  isDecision,
} from './decisions.js'
import type { Metric } from './metric.js'

/** Limit of the matrix: more classes would take over 16 MB per batch. */
const maxClasses = 2000

/** Options of `confusion`. */
export interface ConfusionOptions {
  /** Probability above which a yes-or-no answer is yes, in (0, 1). Default 0.5. */
  readonly threshold?: number
}

/**
 * Confusion matrix: how often each true class was predicted as each class, `confusion[true][predicted]`; for yes-or-no
 * [[true no, false yes], [false no, true yes]] over all elements. Reported as `confusion`.
 * @throws OnnxIreError `invalid-option`, when built onto a model also for more than 2,000 classes
 */
export function confusion(options: ConfusionOptions = {}): Metric {
  checkNames('confusion', options, ['threshold'])
  const { threshold = 0.5 } = options
  checkThreshold('confusion', threshold)
  return {
    name: 'confusion',
    build(comparison) {
      if (!isDecision(comparison)) return null
      const classes = comparison.kind === 'binary' ? 2 : classCount(comparison, 'confusion')
      if (classes > maxClasses)
        throw new OnnxIreError(
          'invalid-option',
          `confusion: the model has ${classes} classes, more than ${maxClasses}; measure perClass or f1 instead`,
        )
      const { predicted, actual, counted } = decide(comparison, threshold)
      const cells = histogram(op.Add(op.Mul(actual, classes), predicted), counted, classes * classes, comparison)
      return {
        sums: new Map([['cells', cells]]),
        measure: ({ cells }) => ({
          confusion: Array.from({ length: classes }, (_, c) => [...cells!.subarray(c * classes, (c + 1) * classes)]),
        }),
      }
    },
  }
}

/** Averaging method of a score over several classes. */
export type ClassAverage = 'macro' | 'micro' | 'weighted'

/** Options of `precision`, `recall`, `f1` and `iou`. */
export interface ClassAverageOptions {
  /**
   * Average over the classes. 'macro': the mean of the classes' scores; 'weighted': their mean weighted by how often
   * each class is true; 'micro': the score of the counts of all classes together. Ignored for a single yes-or-no.
   * Default 'macro'.
   */
  readonly average?: ClassAverage
  /** Probability above which a yes-or-no answer is yes, in (0, 1). Default 0.5. */
  readonly threshold?: number
}

/** Options of `perClass`. */
export interface PerClassOptions {
  /** Probability above which a yes-or-no answer is yes, in (0, 1). Default 0.5. */
  readonly threshold?: number
}

type Score = (hits: number, predicted: number, actual: number) => number

/** a / b, and 0 if nothing was predicted or true. */
const ratio = (a: number, b: number): number => (b === 0 ? 0 : a / b)
const scores = {
  precision: (hits, predicted) => ratio(hits, predicted),
  recall: (hits, _, actual) => ratio(hits, actual),
  // The harmonic mean of precision and recall.
  f1: (hits, predicted, actual) => ratio(2 * hits, predicted + actual),
  iou: (hits, predicted, actual) => ratio(hits, predicted + actual - hits),
} satisfies Record<string, Score>

/**
 * Precision: the share of the predictions of a class that are correct. Follows scikit-learn's `precision_score` with
 * `zero_division=0`. Reported as `precision`, for another average than 'macro' as `precision-micro` or
 * `precision-weighted`.
 * @throws OnnxIreError `invalid-option`
 */
export const precision = (options: ClassAverageOptions = {}): Metric => averageMetric('precision', options)

/**
 * Recall: the share of the examples of a class that are predicted as that class. Follows scikit-learn's `recall_score`
 * with `zero_division=0`. Reported as `recall`, for another average than 'macro' as `recall-micro` or
 * `recall-weighted`.
 * @throws OnnxIreError `invalid-option`
 */
export const recall = (options: ClassAverageOptions = {}): Metric => averageMetric('recall', options)

/**
 * F1 score: 2 precision recall / (precision + recall). Follows scikit-learn's `f1_score` with `zero_division=0`.
 * Reported as `f1`, for another average than 'macro' as `f1-micro` or `f1-weighted`.
 * @throws OnnxIreError `invalid-option`
 */
export const f1 = (options: ClassAverageOptions = {}): Metric => averageMetric('f1', options)

/**
 * Mean intersection over union, for segmentation: the pixels that are predicted as a class and are of that class over
 * those that are either. Follows scikit-learn's `jaccard_score`. Reported as `iou`, for another average than 'macro' as
 * `iou-micro` or `iou-weighted`.
 * @throws OnnxIreError `invalid-option`
 */
export const iou = (options: ClassAverageOptions = {}): Metric => averageMetric('iou', options)

/**
 * Precision, recall, F1 and support of every class: reported as the lists `precisionPerClass`, `recallPerClass`,
 * `f1PerClass` and `supportPerClass` (how often the class is true). For several yes-or-no labels per example, [N, L],
 * the lists have one number per label.
 * @throws OnnxIreError `invalid-option`
 */
export function perClass(options: PerClassOptions = {}): Metric {
  checkNames('perClass', options, ['threshold'])
  const { threshold = 0.5 } = options
  checkThreshold('perClass', threshold)
  return {
    name: 'perClass',
    build(comparison) {
      if (!isDecision(comparison)) return null
      return {
        sums: countPerClass(comparison, threshold, 'perClass').sums,
        measure: (sums) => {
          const counts = toClassCounts(sums)
          return {
            precisionPerClass: scoreClasses(scores.precision, counts),
            recallPerClass: scoreClasses(scores.recall, counts),
            f1PerClass: scoreClasses(scores.f1, counts),
            supportPerClass: [...counts.actual],
          }
        },
      }
    },
  }
}

function averageMetric(kind: keyof typeof scores, options: ClassAverageOptions): Metric {
  checkNames(kind, options, ['average', 'threshold'])
  const { average = 'macro', threshold = 0.5 } = options
  if (!['macro', 'micro', 'weighted'].includes(average))
    throw invalidOption(kind, 'average', average, "'macro', 'micro' or 'weighted'")
  checkThreshold(kind, threshold)
  const name = average === 'macro' ? kind : `${kind}-${average}`
  return {
    name,
    build(comparison) {
      if (!isDecision(comparison)) return null
      const { sums, isMultiLabel } = countPerClass(comparison, threshold, name)
      return {
        sums,
        measure: (sums) => ({ [name]: averageScores(scores[kind], toClassCounts(sums), average, isMultiLabel) }),
      }
    },
  }
}

const scoreClasses = (score: Score, { hits, predicted, actual }: ClassCounts): number[] =>
  Array.from(hits, (hit, c) => score(hit, predicted[c]!, actual[c]!))

function averageScores(score: Score, counts: ClassCounts, average: ClassAverage, isMultiLabel: boolean): number {
  const { hits, predicted, actual } = counts
  if (average === 'micro') return score(sum(hits), sum(predicted), sum(actual))
  const perClass = scoreClasses(score, counts)
  if (average === 'weighted')
    return ratio(
      perClass.reduce((all, value, c) => all + value * actual[c]!, 0),
      sum(actual),
    )
  // scikit-learn averages over the classes that occur or are predicted, but over all labels of a multi-label problem.
  const averaged = perClass.filter((_, c) => isMultiLabel || predicted[c]! > 0 || actual[c]! > 0)
  return ratio(sum(averaged), averaged.length)
}

/** Counts per class: correct predictions, all predictions, and how often the class is true. */
interface ClassCounts {
  readonly hits: Float64Array
  readonly predicted: Float64Array
  readonly actual: Float64Array
}

/** `ClassCounts` as sums of a graph, each [K]. */
interface ClassCountSums {
  readonly sums: ReadonlyMap<keyof ClassCounts, Value>
  /** Whether each example has several yes-or-no labels, counted separately. */
  readonly isMultiLabel: boolean
}

/**
 * Builds counts per class. For yes-or-no the only class is yes; logits with several columns ([N, L], L static) are
 * several labels per example, with counts per column. Throws `invalid-option` if the number of classes is not static.
 */
function countPerClass(comparison: DecisionComparison, threshold: number, metric: string): ClassCountSums {
  const decisions = decide(comparison, threshold)
  if (comparison.kind === 'classes') {
    const classes = classCount(comparison, metric)
    const { predicted, actual, counted } = decisions
    const hit = op.Mul(counted, op.CastLike(op.Equal(predicted, actual), counted))
    const perClass = (numbers: Value, weights: Value) => histogram(numbers, weights, classes, comparison)
    return {
      sums: toSums(perClass(actual, hit), perClass(predicted, counted), perClass(actual, counted)),
      isMultiLabel: false,
    }
  }
  const columns = columnCount(comparison.logits)
  return { sums: countPositives(decisions, columns), isMultiLabel: columns > 1 }
}

function countPositives({ predicted, actual, counted }: Decisions, columns: number): ClassCountSums['sums'] {
  const isYes = (x: Value) => op.Mul(op.CastLike(x, counted), counted)
  const perColumn = (x: Value) => op.ReduceSum(op.Reshape(x, [-1, columns]), [0], { keepdims: 0 })
  const [predictedYes, actualYes] = [isYes(predicted), isYes(actual)]
  return toSums(perColumn(op.Mul(predictedYes, actualYes)), perColumn(predictedYes), perColumn(actualYes))
}

const toSums = (hits: Value, predicted: Value, actual: Value): ClassCountSums['sums'] =>
  new Map([
    ['hits', hits],
    ['predicted', predicted],
    ['actual', actual],
  ])

const toClassCounts = (sums: Readonly<Record<string, Float64Array>>): ClassCounts => ({
  hits: sums['hits']!,
  predicted: sums['predicted']!,
  actual: sums['actual']!,
})
