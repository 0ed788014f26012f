import { op } from '../op/op.js'
import { countUnmasked, sumUnmasked } from './decisions.js'
import type { Metric } from './metric.js'

/**
 * Margin: the mean of the logits on the side of their targets, z for a target of 1 and -z for 0. For `dpo` and `orpo`
 * the mean score of the chosen answers against the rejected ones. Reported as `margin`.
 */
export const margin = (): Metric => ({
  name: 'margin',
  build(comparison) {
    if (comparison.kind !== 'binary') return null
    const { logits, targets, mask } = comparison
    return {
      sums: new Map([
        ['sum', sumUnmasked(op.Mul(logits, op.Sub(op.Mul(targets, 2), 1)), mask)],
        ['count', countUnmasked(logits, mask, logits)],
      ]),
      measure: ({ sum, count }) => ({ margin: sum![0]! / count![0]! }),
    }
  },
})
