import type { FloatArray } from '../ir/float-array.js'
import { isStatic } from '../ir/shape.js'
import type { Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { Comparison, LossGraph } from '../loss/loss.js'
import { describeValue } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'

/** Value of a metric: a number, one number per class, or a confusion matrix. */
export type MetricValue = number | readonly number[] | readonly (readonly number[])[]

/**
 * Metric of a data set, measured in addition to the loss. The evaluation graph computes sums that add up over batches,
 * and the metric is computed from the totals: exact for every batch size, and predictions never leave the runtime.
 */
export interface Metric {
  /** Unique name within a list of metrics. */
  readonly name: string
  /** Builds the sums of the metric; null if the metric does not apply to this kind of comparison. */
  build(comparison: Comparison): MetricGraph | null
}

/** Sums of a metric in a graph, and the function from their totals to the reported values. */
export interface MetricGraph {
  /** Sums over the batch, by name: float tensors of static shape, or the tensors that `reduce` reads. */
  readonly sums: ReadonlyMap<string, Value>
  /** Sums that a graph cannot compute, such as edit distances: the host computes them for every batch. */
  readonly reduce?: {
    /** Names of the sums. */
    readonly names: readonly string[]
    /** Computes the sums, by name, from the tensors of `sums`, which may have any shape. */
    compute(tensors: Tensors): Readonly<Record<string, number>>
  }
  /** Computes the reported values, by name, from the sums over all batches. */
  measure(sums: Readonly<Record<string, Float64Array>>): Readonly<Record<string, MetricValue>>
}

/** Metrics built onto a loss: the outputs of the evaluation graph, and the metrics that read them. */
export interface BuiltMetrics {
  /** Sums of every metric: `sum/<metric>/<name>`, or `sum/<task>/<metric>/<name>` if the loss has tasks. */
  readonly outputs: ReadonlyMap<string, Value>
  readonly parts: readonly MetricPart[]
}

/** A metric of a task. */
interface MetricPart {
  readonly prefix: string
  readonly task: string
  readonly metric: MetricGraph
  /** Whether the metric is the loss itself: see `withLossTerms`. */
  readonly isLoss?: boolean
}

/** The sums of a batch, from the outputs `sum/...` of a graph. */
export function readSums(outputs: Tensors, { parts }: BuiltMetrics): Record<string, FloatArray> {
  const sums = Object.fromEntries(
    Object.entries(outputs).flatMap(([name, { data }]) =>
      name.startsWith('sum/') ? [[name, data as FloatArray]] : [],
    ),
  )
  for (const { prefix, metric } of parts) {
    const names = metric.reduce ? [...metric.sums.keys()] : []
    if (names.length === 0 || names.some((name) => !getOwn(outputs, prefix + name))) continue
    for (const name of names) delete sums[prefix + name]
    const tensors = Object.fromEntries(names.map((name) => [name, outputs[prefix + name]!]))
    for (const [name, sum] of Object.entries(metric.reduce!.compute(tensors)))
      sums[prefix + name] = Float64Array.of(sum)
  }
  return sums
}

/**
 * Builds every metric onto every comparison of the loss that it applies to.
 * @param required whether a metric that applies to no comparison is an error
 * @throws OnnxIreError `invalid-option` if two metrics have the same name, or a required metric applies to no
 * comparison
 */
export function buildMetrics(metrics: readonly Metric[], loss: LossGraph, required: boolean): BuiltMetrics {
  if (!Array.isArray(metrics))
    throw new OnnxIreError('invalid-option', `metrics: ${describeValue(metrics)} is not a list such as [accuracy()]`)
  const invalid = metrics.findIndex((metric) => typeof metric?.build !== 'function')
  if (invalid >= 0)
    throw new OnnxIreError(
      'invalid-option',
      `metrics[${invalid}]: ${describeValue(metrics[invalid])} is not a metric; create one with accuracy(), or createMetric('accuracy')`,
    )
  const duplicate = metrics.find(({ name }, i) => metrics.findIndex((other) => other.name === name) < i)
  if (duplicate) throw new OnnxIreError('invalid-option', `metrics: two metrics have the name '${duplicate.name}'`)
  const parts: MetricPart[] = metrics.flatMap((metric) => {
    const applicable = [...(loss.predictions ?? [])].flatMap(([task, comparison]) => {
      const built = metric.build(comparison)
      return built ? [{ prefix: `sum/${task === '' ? '' : `${task}/`}${metric.name}/`, task, metric: built }] : []
    })
    if (applicable.length > 0 || !required) return applicable
    const kinds = [...(loss.predictions?.values() ?? [])].map(({ kind }) => `'${kind}'`)
    throw new OnnxIreError(
      'invalid-option',
      `metrics: '${metric.name}' does not apply to this loss, whose predictions are of the kind ${kinds.join(', ') || 'none'}`,
    )
  })
  for (const [task, comparison] of loss.predictions ?? []) {
    const { tooLong } = comparison as { readonly tooLong?: Value }
    // No metric has this name.
    const prefix = `sum/${task === '' ? '' : `${task}/`}too long/`
    if (tooLong) parts.push({ prefix, task, metric: countTooLong(tooLong) })
  }
  const outputs = new Map<string, Value>()
  for (const { prefix, metric } of parts)
    for (const [name, value] of metric.sums) {
      if (!metric.reduce && !isStatic(value.shape))
        throw new OnnxIreError('invalid-option', `metrics: the sum '${prefix}${name}' has no static shape`)
      outputs.set(prefix + name, value)
    }
  return { outputs, parts }
}

/** Reports examples that a loss leaves out because they are too long, if there are any. */
const countTooLong = (tooLong: Value): MetricGraph => ({
  sums: new Map([['examples', tooLong]]),
  measure: ({ examples }) => (examples![0]! > 0 ? { tooLong: examples![0]! } : {}),
})
