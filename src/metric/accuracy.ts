import { constant, tensorFrom } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { castTo, countUnmasked, type DecisionComparison, isDecision, predictedClass, sumUnmasked } from './decisions.js'
import type { Metric } from './metric.js'

/**
 * Accuracy: the share of correct decisions. A class is correct if the label has the highest score (the first of equal
 * ones), a yes or no if the logit is on the side of the target. Reported as `accuracy`; the default metric, also during
 * training.
 *
 * @example
 * ```ts
 * await evaluateModel(model, data, { runtime, loss: crossEntropy(), metrics: [accuracy(), topK(5)] })
 * ```
 */
export const accuracy = (): Metric => ({
  name: 'accuracy',
  build(comparison) {
    if (!isDecision(comparison)) return null
    const correct = isCorrect(comparison)
    const { logits, mask } = comparison
    const count = (x: Value) => op.ReduceSum(castTo(logits, x), { keepdims: 0 })
    return {
      sums: new Map([
        ['correct', count(mask ? op.And(correct, mask) : correct)],
        ['count', mask ? count(mask) : castTo(logits, op.Size(correct))],
      ]),
      measure: ({ correct, count }) => ({ accuracy: correct![0]! / count![0]! }),
    }
  },
})

function isCorrect(comparison: DecisionComparison): Value {
  if (comparison.kind === 'binary')
    return op.Equal(op.Greater(comparison.logits, 0), op.Greater(comparison.targets, 0.5))
  return op.Equal(predictedClass(comparison), comparison.labels)
}

const int64 = (values: readonly number[]): Value => constant(tensorFrom('int64', [values.length], values))

/**
 * Top-k accuracy: the share of labels whose class has one of the k highest scores, the first of equal ones. Reported as
 * `top<k>`.
 * @throws OnnxIreError `invalid-option`, when built onto a model also if it has fewer classes than k
 */
export function topK(k: number): Metric {
  checkNumber('topK', 'k', k, positiveCount)
  const name = `top${k}`
  return {
    name,
    build(comparison) {
      if (comparison.kind !== 'classes') return null
      const { logits, axis, labels, mask, results } = comparison
      if (results)
        throw new OnnxIreError(
          'invalid-option',
          `metrics: ${name} needs the logits of all positions: omit the option 'chunk' of the loss, or measure accuracy`,
        )
      const classes = logits.shape?.[axis]
      if (typeof classes === 'number' && classes < k)
        throw new OnnxIreError('invalid-option', `metrics: ${name} is always 1 for a model with ${classes} classes`)
      // A number of classes that is only known when the graph runs may be smaller than k.
      const most =
        typeof classes === 'number' ? [k] : op.Min([int64([k]), op.Slice(op.Shape(logits), [axis], [axis + 1])])
      const [, best] = op.TopK(logits, most, { axis })
      const hits = op.CastLike(op.Equal(best, op.Unsqueeze(labels, [axis])), logits)
      return {
        sums: new Map([
          ['correct', sumUnmasked(op.ReduceSum(hits, [axis], { keepdims: 0 }), mask)],
          ['count', countUnmasked(labels, mask, logits)],
        ]),
        measure: ({ correct, count }) => ({ [name]: correct![0]! / count![0]! }),
      }
    },
  }
}
