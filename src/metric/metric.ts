import type { Value } from '../ir/value.js'
import type { Compared } from '../loss/loss.js'

/** A number, or what takes several: one per class, a confusion matrix. */
export type MetricValue = number | readonly number[] | readonly (readonly number[])[]

/**
 * What is measured over a data set beside the loss: sums that add up over batches, computed in the evaluation graph, and
 * what they come to. Exact whatever the batch size; predictions never leave the runtime.
 */
export interface Metric {
  /** For messages, and to tell metrics apart. */
  readonly name: string
  /** Null for a comparison of another kind than the metric is about. */
  build(compared: Compared): MetricGraph | null
}

/** A metric as part of a graph. */
export interface MetricGraph {
  /** Float tensors of static shape, by name, each the sum over the batch. */
  readonly sums: ReadonlyMap<string, Value>
  /** From the sums over all batches to what is reported, by the names it is reported under. */
  measure(sums: Readonly<Record<string, Float64Array>>): Readonly<Record<string, MetricValue>>
}
