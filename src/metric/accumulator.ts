import { sizeOf } from '../ir/tensor.js'
import { emptyRecord, getOwn } from '../util/record.js'
import type { BuiltMetrics, MetricValue } from './metric.js'

/** Loss and metrics, measured over examples (or positions). */
export interface Measures {
  /** (Weighted) mean of the loss. */
  readonly loss: number
  /** Number of examples (or positions) in the mean. */
  readonly count: number
  /** Share of correct predictions, for classifiers. */
  readonly accuracy?: number
  /** Number of examples that `ctc` leaves out: their labels need more steps than they have. Absent if there are none. */
  readonly tooLong?: number
  /** Metrics by name, prefixed by `<task>/` if the loss has tasks; lists for metrics per class. */
  readonly [metric: string]: MetricValue | undefined
}

/** Loss and metric sums of one batch. */
export interface BatchSums {
  readonly loss: number
  readonly weight: number
  readonly count: number
  readonly sums: Readonly<Record<string, ArrayLike<number>>>
}

/**
 * Number that the loss of a batch was divided by. With a weight of 0 it is the sum itself, which label smoothing and
 * class weights of 0 make larger than 0. Returns 0 if every label is ignored: loss and gradients are then 0 or NaN.
 */
export const divisorOf = ({ loss, weight, count }: Omit<BatchSums, 'sums'>): number =>
  weight === 0 && count > 0 && !Number.isNaN(loss) ? 1 : weight

/** State of a `MetricAccumulator` as plain data, for a checkpoint. */
export interface MetricAccumulatorState {
  readonly loss: number
  readonly weight: number
  readonly count: number
  readonly sums: Readonly<Record<string, readonly number[]>>
}

/** State of an accumulator before the first batch, with every sum at 0. */
export const emptyAccumulatorState = ({ parts }: BuiltMetrics): MetricAccumulatorState => ({
  loss: 0,
  weight: 0,
  count: 0,
  sums: Object.fromEntries(
    parts.flatMap(({ prefix, metric: { reduce, sums } }) =>
      reduce
        ? reduce.names.map((name) => [prefix + name, [0]])
        : [...sums].map(([name, { shape }]) => [
            prefix + name,
            new Array<number>(sizeOf((shape ?? []) as readonly number[])).fill(0),
          ]),
    ),
  ),
})

/** Accumulator of loss and metric sums over batches, in double precision. */
export class MetricAccumulator {
  #loss = 0
  #weight = 0
  #count = 0
  readonly #sums: Record<string, Float64Array> = emptyRecord()
  readonly #metrics: BuiltMetrics

  constructor(metrics: BuiltMetrics, state?: MetricAccumulatorState) {
    this.#metrics = metrics
    if (!state) return
    this.#loss = state.loss
    this.#weight = state.weight
    this.#count = state.count
    for (const [name, sum] of Object.entries(state.sums)) this.#sums[name] = Float64Array.from(sum)
  }

  add(batch: BatchSums): void {
    const { loss, weight, count, sums } = batch
    const divisor = divisorOf(batch)
    if (divisor !== 0) this.#loss += loss * divisor
    this.#weight += weight
    this.#count += count
    for (const [name, sum] of Object.entries(sums)) {
      const total = getOwn(this.#sums, name) ?? new Float64Array(sum.length)
      this.#sums[name] = total
      for (let i = 0; i < total.length; i++) total[i]! += sum[i]!
    }
  }

  /** Loss and metrics of all batches so far. */
  measures(): Measures {
    const values: Record<string, MetricValue> = emptyRecord()
    let loss = this.#loss / this.#weight
    for (const { prefix, task, metric, isLoss } of this.#metrics.parts) {
      const names = metric.reduce?.names ?? [...metric.sums.keys()]
      if (names.some((name) => !getOwn(this.#sums, prefix + name))) continue // no batch has been added
      const sums = Object.fromEntries(names.map((name) => [name, this.#sums[prefix + name]!]))
      const measured = metric.measure(sums)
      if (isLoss) loss = measured['loss'] as number
      for (const [name, value] of Object.entries(measured)) values[task === '' ? name : `${task}/${name}`] = value
    }
    return { ...values, loss, count: this.#count }
  }

  save(): MetricAccumulatorState {
    const sums = Object.fromEntries(Object.entries(this.#sums).map(([name, sum]) => [name, [...sum]]))
    return { loss: this.#loss, weight: this.#weight, count: this.#count, sums }
  }
}
