import { constant, tensorFrom } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { sum } from '../util/statistics.js'
import { classCount, columnCount, type DecisionComparison, decide, histogram, isDecision, toBin } from './decisions.js'
import type { Metric } from './metric.js'

/** Options of `rocAuc` and `averagePrecision`. */
export interface RankingOptions {
  /**
   * Number of intervals that scores are sorted into, from 16 to 65,536. Scores in the same interval count as equal.
   * Default 8192: scores that differ by more than 0.5 % are in different ones.
   */
  readonly bins?: number
}

/** Limit of the counters: 32 MB per batch. */
const maxCounters = 2 ** 22

/**
 * Area under the ROC curve: the probability that a true answer has a higher score than a false one, where equal scores
 * count one half. For several classes or yes-or-no labels the mean over those that have both true and false answers,
 * each class against all others, as scikit-learn's `roc_auc_score` with `multi_class='ovr'`. Reported as `rocAuc`.
 * @throws OnnxIreError `invalid-option`
 */
export const rocAuc = (options: RankingOptions = {}): Metric =>
  rankingMetric('rocAuc', options, (positives, negatives) => {
    let [pairs, below] = [0, 0]
    for (const [bin, positive] of positives.entries()) {
      const negative = negatives[bin]!
      pairs += positive * (below + negative / 2)
      below += negative
    }
    return pairs / (sum(positives) * below)
  })

/**
 * Average precision, the area under the precision-recall curve: the mean over true answers of the precision among all
 * scores that are at least as high. Several classes or labels as in `rocAuc`. Follows scikit-learn's
 * `average_precision_score`. Reported as `averagePrecision`.
 * @throws OnnxIreError `invalid-option`
 */
export const averagePrecision = (options: RankingOptions = {}): Metric =>
  rankingMetric('averagePrecision', options, (positives, negatives) => {
    const all = sum(positives)
    let [hits, answers, area] = [0, 0, 0]
    for (let bin = positives.length - 1; bin >= 0; bin--) {
      const positive = positives[bin]!
      hits += positive
      answers += positive + negatives[bin]!
      if (positive > 0) area += (positive / all) * (hits / answers)
    }
    return area
  })

function rankingMetric(
  name: string,
  options: RankingOptions,
  measure: (positives: Float64Array, negatives: Float64Array) => number,
): Metric {
  checkNames(name, options, ['bins'])
  const { bins = 8192 } = options
  checkNumber(name, 'bins', bins, { min: 16, max: 65536, integer: true })
  return {
    name,
    build(comparison) {
      if (!isDecision(comparison)) return null
      const { scores, isTrue, counted, columns } = rankColumns(comparison, name)
      if (columns * bins > maxCounters)
        throw new OnnxIreError(
          'invalid-option',
          `metrics: ${name} sorts the scores of ${columns} classes into ${bins} intervals each, more than ${maxCounters} together: set option 'bins' to ${Math.floor(maxCounters / columns)} or less`,
        )
      const place = op.Add(binOf(scores, bins), numbers(columns, bins))
      // A score that is not a number makes the count so, and with it the metric.
      const unknown = op.And(op.IsNaN(scores), op.Greater(counted, 0))
      const count = (weights: Value) =>
        histogram(place, op.Where(unknown, Number.NaN, weights), columns * bins, comparison)
      return {
        sums: new Map([
          ['positives', count(op.Mul(counted, isTrue))],
          ['negatives', count(op.Mul(counted, op.Sub(1, isTrue)))],
        ]),
        measure: ({ positives, negatives }) => {
          const values: number[] = []
          for (let c = 0; c < columns; c++) {
            const [yes, no] = [positives!, negatives!].map((x) => x.subarray(c * bins, (c + 1) * bins))
            const [yesCount, noCount] = [sum(yes!), sum(no!)]
            if (Number.isNaN(yesCount + noCount)) values.push(Number.NaN)
            else if (yesCount > 0 && noCount > 0) values.push(measure(yes!, no!))
          }
          return { [name]: values.reduce((a, b) => a + b, 0) / values.length }
        },
      }
    },
  }
}

/** Scores of the columns, each [rows, columns]: log-odds, whether the answer is true, and whether it counts. */
interface RankedColumns {
  readonly scores: Value
  readonly isTrue: Value
  readonly counted: Value
  readonly columns: number
}

function rankColumns(comparison: DecisionComparison, metric: string): RankedColumns {
  const { logits } = comparison
  const { predicted, actual, counted } = decide(comparison)
  const { shape } = logits
  if (comparison.kind === 'binary') {
    const columns = columnCount(logits)
    const [scores, isTrue, weights] = [logits, op.CastLike(actual, counted), counted].map((x) =>
      op.Reshape(x, [-1, columns]),
    )
    return { scores: scores!, isTrue: isTrue!, counted: weights!, columns }
  }
  if (comparison.results)
    throw new OnnxIreError(
      'invalid-option',
      `metrics: ${metric} needs the logits of all positions: omit the option 'chunk' of the loss`,
    )
  const classes = classCount(comparison, metric)
  const rank = shape!.length
  const classesLast = Array.from({ length: rank }, (_, i) => i).filter((axis) => axis !== comparison.axis)
  const toRows = (x: Value) => op.Reshape(op.Transpose(x, { perm: [...classesLast, comparison.axis] }), [-1, classes])
  const z = toRows(logits)
  const column = (x: Value) => op.Reshape(x, [-1, 1])
  const odds =
    classes === 2
      ? op.Sub(z, op.Gather(z, int64([1, 0]), { axis: 1 }))
      : logOdds(z, op.Equal(column(predicted), numbers(classes)))
  return {
    scores: odds,
    isTrue: op.CastLike(op.Equal(column(actual), numbers(classes)), counted),
    counted: op.Expand(column(counted), op.Shape(odds)),
    columns: classes,
  }
}

/** Logit of a class that is left out: its exponential is 0 beside those of others. */
const leftOut = -1e30

/**
 * Log-odds of classes, log p - log (1 - p): the logit minus the log of the sum of e^z over the other classes. For the
 * class of the highest logit 1 - p may be too small for the type, so this sum is computed; for others p is at most 1/2.
 * @param z logits [rows, classes]
 * @param isFirst whether a class is that of the highest logit of its row
 */
function logOdds(z: Value, isFirst: Value): Value {
  const others = op.Where(isFirst, leftOut, z)
  // Finite also if all other logits are minus infinity.
  const second = op.Max([op.ReduceMax(others, [1]), leftOut])
  const rest = op.Add(second, op.Log(op.ReduceSum(op.Exp(op.Sub(others, second)), [1])))
  const logP = op.LogSoftmax(z, { axis: 1 })
  return op.Where(isFirst, op.Sub(z, rest), op.Sub(logP, op.Log(op.Sub(1, op.Exp(logP)))))
}

const int64 = (values: readonly number[]): Value => constant(tensorFrom('int64', [values.length], values))

/** The integers 0, step, 2 step, ... */
const numbers = (n: number, step = 1): Value => int64(Array.from({ length: n }, (_, i) => i * step))

/**
 * Interval of a score, 0 .. bins - 1: equally long intervals of asinh(1000 z), which is linear around 0 and logarithmic
 * beyond, up to |z| = 10,000. 0 if the score is not a number.
 */
function binOf(z: Value, bins: number): Value {
  const x = op.Mul(op.Abs(z), 1000)
  const size = op.Log(op.Add(x, op.Sqrt(op.Add(op.Mul(x, x), 1))))
  const end = Math.asinh(1e7)
  const share = op.Mul(op.Add(op.Mul(op.Sign(z), size), end), bins / (2 * end))
  return toBin(share, bins)
}
