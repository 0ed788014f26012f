import type { Value } from '../ir/value.js'
import type { Compared } from '../loss/loss.js'
import { op } from '../op/op.js'
import type { Metric } from './metric.js'

/**
 * The share of targets that are met: for classes those whose label has the highest score (the first of equal ones), for
 * yes-or-no those on whose side the logit is. Reported as `accuracy`; measured by default, in training too.
 */
export const accuracy = (): Metric => ({
  name: 'accuracy',
  build(compared) {
    if (compared.kind === 'values') return null
    const hit = hits(compared)
    const { logits, kept } = compared
    const number = (of: Value) => op.ReduceSum(op.CastLike(of, logits), { keepdims: 0 })
    return {
      sums: new Map([
        ['correct', number(kept ? op.And(hit, kept) : hit)],
        ['count', kept ? number(kept) : op.CastLike(op.Size(hit), logits)],
      ]),
      measure: ({ correct, count }) => ({ accuracy: correct![0]! / count![0]! }),
    }
  },
})

function hits(compared: Exclude<Compared, { kind: 'values' }>): Value {
  if (compared.kind === 'binary') return op.Equal(op.Greater(compared.logits, 0), op.Greater(compared.targets, 0.5))
  const { logits, axis, labels } = compared
  return op.Equal(op.ArgMax(logits, { axis, keepdims: 0 }), labels)
}
