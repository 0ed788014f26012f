import { isStatic } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import type { LossGraph } from '../loss/loss.js'
import { OnnxIreError } from '../util/errors.js'
import type { Metric, MetricGraph } from './metric.js'

/** Metrics built onto a loss: what the graph has to give, and how it is read. */
export interface MeasuredGraph {
  /** `sum/<metric>/<name>` of every metric's sums; `sum/<task>/<metric>/<name>` where the loss has tasks. */
  readonly outputs: ReadonlyMap<string, Value>
  readonly parts: readonly { readonly prefix: string; readonly task: string; readonly metric: MetricGraph }[]
}

/**
 * Builds every metric onto every comparison it is about.
 * Throws `invalid-option` when two have the same name, and when one fits nothing that the loss compares.
 */
export function measuredBy(metrics: readonly Metric[], loss: LossGraph, required: boolean): MeasuredGraph {
  const odd = metrics.find((metric) => typeof metric?.build !== 'function')
  if (odd !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `metrics: '${String(odd)}' is no metric; give one such as accuracy(), or metricNamed('accuracy')`,
    )
  const twice = metrics.find(({ name }, i) => metrics.findIndex((other) => other.name === name) < i)
  if (twice) throw new OnnxIreError('invalid-option', `metrics: there are two named '${twice.name}'`)
  const parts = metrics.flatMap((metric) => {
    const fitting = [...(loss.compared ?? [])].flatMap(([task, compared]) => {
      const built = metric.build(compared)
      return built ? [{ prefix: `sum/${task === '' ? '' : `${task}/`}${metric.name}/`, task, metric: built }] : []
    })
    if (fitting.length > 0 || !required) return fitting
    const kinds = [...(loss.compared?.values() ?? [])].map(({ kind }) => `'${kind}'`)
    throw new OnnxIreError(
      'invalid-option',
      `metrics: '${metric.name}' measures another kind of target than this loss compares (${kinds.join(', ') || 'none that metrics are told of'})`,
    )
  })
  const outputs = new Map<string, Value>()
  for (const { prefix, metric } of parts)
    for (const [name, value] of metric.sums) {
      if (!isStatic(value.shape))
        throw new OnnxIreError('invalid-option', `metrics: the sum '${prefix}${name}' has no static shape`)
      outputs.set(prefix + name, value)
    }
  return { outputs, parts }
}
