import { op } from '../op/op.js'
import { checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { countOf, total } from './counted.js'
import type { Metric } from './metric.js'

/**
 * The share of labels whose class is among the k highest scores, the first of equal ones. Reported as `top<k>`.
 * Throws `invalid-option`, also for a model of fewer classes than k.
 */
export function topK(k: number): Metric {
  checkNumber('topK', 'k', k, positiveCount)
  const name = `top${k}`
  return {
    name,
    build(compared) {
      if (compared.kind !== 'classes') return null
      const { logits, axis, labels, kept } = compared
      const classes = logits.shape?.[axis]
      if (typeof classes === 'number' && classes < k)
        throw new OnnxIreError(
          'invalid-option',
          `metrics: ${name} of a model that tells ${classes} classes apart is always 1`,
        )
      const [, best] = op.TopK(logits, [k], { axis })
      const hits = op.CastLike(op.Equal(best, op.Unsqueeze(labels, [axis])), logits)
      return {
        sums: new Map([
          ['correct', total(op.ReduceSum(hits, [axis], { keepdims: 0 }), kept)],
          ['count', countOf(labels, kept, logits)],
        ]),
        measure: ({ correct, count }) => ({ [name]: correct![0]! / count![0]! }),
      }
    },
  }
}
