import { scalar } from '../ir/leaf.js'
import { op } from '../op/op.js'
import { countOf, total } from './counted.js'
import type { Metric } from './metric.js'

/**
 * exp of the mean of -log p[label] over all labels (or positions), without weights or smoothing: how many equally likely
 * classes would be as uncertain. Reported as `perplexity`.
 */
export const perplexity = (): Metric => ({
  name: 'perplexity',
  build(compared) {
    if (compared.kind !== 'classes') return null
    const { logits, axis, labels, kept } = compared
    const index = kept ? op.Where(kept, labels, scalar('int64', 0)) : labels
    const logP = op.GatherElements(op.LogSoftmax(logits, { axis }), op.Unsqueeze(index, [axis]), { axis })
    return {
      sums: new Map([
        ['nll', op.Neg(total(op.Squeeze(logP, [axis]), kept))],
        ['count', countOf(labels, kept, logits)],
      ]),
      measure: ({ nll, count }) => ({ perplexity: Math.exp(nll![0]! / count![0]!) }),
    }
  },
})
