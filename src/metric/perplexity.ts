import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import type { Comparison } from '../loss/loss.js'
import { op } from '../op/op.js'
import { countUnmasked, sumUnmasked } from './decisions.js'
import type { Metric } from './metric.js'

/**
 * Perplexity: exp of the mean of -log p[label] over all labels (or positions), without weights or label smoothing.
 * Equals the number of equally likely classes with the same uncertainty. Reported as `perplexity`.
 */
export const perplexity = (): Metric => ({
  name: 'perplexity',
  build(comparison) {
    if (comparison.kind !== 'classes') return null
    const { logits, labels, mask } = comparison
    return {
      sums: new Map([
        ['nll', sumUnmasked(comparison.results?.nll ?? negativeLogLikelihood(comparison), mask)],
        ['count', countUnmasked(labels, mask, logits)],
      ]),
      measure: ({ nll, count }) => ({ perplexity: Math.exp(nll![0]! / count![0]!) }),
    }
  },
})

function negativeLogLikelihood({ logits, axis, labels, mask }: Extract<Comparison, { kind: 'classes' }>): Value {
  const index = mask ? op.Where(mask, labels, scalar('int64', 0)) : labels
  const logP = op.GatherElements(op.LogSoftmax(logits, { axis }), op.Unsqueeze(index, [axis]), { axis })
  return op.Neg(op.Squeeze(logP, [axis]))
}
