import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber, invalidOption, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { castTo, type DecisionComparison, decide, histogram, isDecision, toBin } from './decisions.js'
import type { Metric } from './metric.js'
import { confusion } from './precision-recall.js'

/** Options of `ece`. */
export interface EceOptions {
  /** Number of equally long intervals of the confidence. Default 15. */
  readonly bins?: number
}

/**
 * Expected calibration error (Guo et al. 2017, arXiv 1706.04599): the mean difference of confidence and accuracy over
 * intervals of the confidence, weighted by their share of the predictions. The confidence of a class is its softmax
 * probability; of a yes-or-no answer the probability of the answer that is given. Reported as `ece`.
 * @throws OnnxIreError `invalid-option`
 */
export function ece(options: EceOptions = {}): Metric {
  checkNames('ece', options, ['bins'])
  const { bins = 15 } = options
  checkNumber('ece', 'bins', bins, positiveCount)
  return {
    name: 'ece',
    build(comparison) {
      if (!isDecision(comparison)) return null
      const { predicted, actual, counted } = decide(comparison)
      const confidence = confidenceOf(comparison)
      const bin = toBin(op.Mul(confidence, bins), bins)
      // A confidence that is not a number makes its sum so, unless its label is ignored.
      const total = (x: Value) =>
        histogram(bin, comparison.mask ? op.Where(comparison.mask, x, 0) : x, bins, comparison)
      return {
        sums: new Map([
          ['count', histogram(bin, counted, bins, comparison)],
          ['confidence', total(confidence)],
          ['correct', total(castTo(confidence, op.Equal(predicted, actual)))],
        ]),
        measure: ({ count, confidence, correct }) => {
          const all = count!.reduce((a, b) => a + b, 0)
          return { ece: confidence!.reduce((sum, c, i) => sum + Math.abs(c - correct![i]!), 0) / all }
        },
      }
    },
  }
}

function confidenceOf(comparison: DecisionComparison): Value {
  const { logits } = comparison
  if (comparison.kind === 'binary') return op.Sigmoid(op.Abs(logits))
  if (comparison.results)
    throw new OnnxIreError(
      'invalid-option',
      "metrics: ece needs the logits of all positions: omit the option 'chunk' of the loss",
    )
  const { axis } = comparison
  return op.ReduceMax(op.Softmax(logits, { axis }), [axis], { keepdims: 0 })
}

/** Options of `cohenKappa`. */
export interface CohenKappaOptions {
  /**
   * Weight of a wrong class: 1 for every class ('none'), or the distance of the class numbers, or its square, for
   * classes in an order. Default 'none'.
   */
  readonly weights?: 'none' | 'linear' | 'quadratic'
}

const distances = {
  none: (a: number, b: number) => Number(a !== b),
  linear: (a: number, b: number) => Math.abs(a - b),
  quadratic: (a: number, b: number) => (a - b) ** 2,
}

/**
 * Cohen's kappa: 1 minus the disagreement of predicted and true classes over the disagreement that is expected by
 * chance from how often each class is predicted and true. Follows scikit-learn's `cohen_kappa_score`. Reported as
 * `cohenKappa`, with weights as `cohenKappa-linear` or `cohenKappa-quadratic`.
 * @throws OnnxIreError `invalid-option`, when built onto a model also for more than 2,000 classes
 */
export function cohenKappa(options: CohenKappaOptions = {}): Metric {
  checkNames('cohenKappa', options, ['weights'])
  const { weights = 'none' } = options
  const distance = distances[weights]
  if (!distance) throw invalidOption('cohenKappa', 'weights', weights, "'none', 'linear' or 'quadratic'")
  const name = weights === 'none' ? 'cohenKappa' : `cohenKappa-${weights}`
  return {
    name,
    build(comparison) {
      const built = confusion().build(comparison)
      if (!built) return null
      return {
        sums: built.sums,
        measure: (sums) => {
          const { confusion: matrix } = built.measure(sums) as { confusion: readonly (readonly number[])[] }
          const actual = matrix.map((row) => row.reduce((a, b) => a + b, 0))
          const predicted = matrix.map((_, c) => matrix.reduce((sum, row) => sum + row[c]!, 0))
          const all = actual.reduce((a, b) => a + b, 0)
          let [observed, expected] = [0, 0]
          for (const [i, row] of matrix.entries())
            for (const [j, count] of row.entries()) {
              observed += distance(i, j) * count
              expected += (distance(i, j) * actual[i]! * predicted[j]!) / all
            }
          return { [name]: 1 - observed / expected }
        },
      }
    },
  }
}
