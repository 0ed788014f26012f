import type { Value } from '../ir/value.js'
import type { Comparison } from '../loss/loss.js'

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
  /** Sums over the batch, by name: float tensors of static shape. */
  readonly sums: ReadonlyMap<string, Value>
  /** Computes the reported values, by name, from the sums over all batches. */
  measure(sums: Readonly<Record<string, Float64Array>>): Readonly<Record<string, MetricValue>>
}
