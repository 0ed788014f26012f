import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { type LossGraph, meanTermsOf } from '../loss/loss.js'
import { op } from '../op/op.js'
import type { BuiltMetrics, MetricGraph } from './metric.js'

/**
 * Adds the terms of a loss that is a sum of means to the metrics of an evaluation, which reports their sum as `loss`:
 * the means have different divisors, so no weighted mean of the losses of batches is the loss of all examples.
 */
export function withLossTerms({ outputs, parts }: BuiltMetrics, loss: LossGraph): BuiltMetrics {
  const terms = meanTermsOf(loss)
  if (!terms) return { outputs, parts }
  // No task has an empty name, and no metric.
  const prefix = 'sum//'
  const sums = new Map(
    [...terms].flatMap(([name, { loss, weight }]): [string, Value][] => [
      [`${name}/loss`, sumOf(loss, weight)],
      [`${name}/weight`, weight],
    ]),
  )
  const metric: MetricGraph = {
    sums,
    measure(totals) {
      const weights = [...terms.keys()].map((name) => totals[`${name}/weight`]![0]!)
      if (weights.every((weight) => weight === 0)) return { loss: Number.NaN }
      const means = [...terms.keys()].map((name, i) => totals[`${name}/loss`]![0]! / (weights[i]! || 1))
      return { loss: means.reduce((a, b) => a + b, 0) }
    },
  }
  return {
    outputs: new Map([...outputs, ...[...sums].map(([name, value]) => [prefix + name, value] as const)]),
    parts: [...parts, { prefix, task: '', metric, isLoss: true }],
  }
}

/** The sum that a mean was divided from. The mean of weight 0 is the sum itself, or NaN if every label is ignored. */
function sumOf(mean: Value, weight: Value): Value {
  const zero = scalar(mean.dtype, 0)
  const ofNone = op.Where(op.IsNaN(mean), zero, mean)
  return op.Where(op.Greater(weight, zero), op.Mul(mean, weight), ofNone)
}
