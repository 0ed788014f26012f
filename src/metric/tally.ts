import { sizeOf } from '../ir/tensor.js'
import type { MeasuredGraph } from './measured.js'
import type { MetricValue } from './metric.js'

/** What was measured, over examples (or positions). */
export interface Measures {
  /** The (weighted) mean. */
  readonly loss: number
  /** Examples (or positions) it is the mean over. */
  readonly count: number
  /** Share of targets that are met; for classifiers. */
  readonly accuracy?: number
  /** Metrics by name, behind `<task>/` where the loss has tasks; several numbers where one says too little. */
  readonly [metric: string]: MetricValue | undefined
}

/** One batch's contribution. */
export interface Contribution {
  readonly loss: number
  readonly weight: number
  readonly count: number
  readonly sums: Readonly<Record<string, ArrayLike<number>>>
}

/** A tally as plain data, for a checkpoint. */
export interface SavedTally {
  readonly loss: number
  readonly weight: number
  readonly count: number
  readonly sums: Readonly<Record<string, readonly number[]>>
}

/** Of no examples at all: it tells what will be measured. */
export const emptyTally = ({ outputs }: MeasuredGraph): SavedTally => ({
  loss: 0,
  weight: 0,
  count: 0,
  sums: Object.fromEntries(
    [...outputs].map(([name, { shape }]) => [
      name,
      new Array<number>(sizeOf((shape ?? []) as readonly number[])).fill(0),
    ]),
  ),
})

/** Adds up what batches contribute, in double precision. */
export class Tally {
  private loss = 0
  private weight = 0
  private count = 0
  private readonly sums: Record<string, Float64Array> = {}
  private readonly measured: MeasuredGraph

  constructor(measured: MeasuredGraph, saved?: SavedTally) {
    this.measured = measured
    if (!saved) return
    this.loss = saved.loss
    this.weight = saved.weight
    this.count = saved.count
    for (const [name, sum] of Object.entries(saved.sums)) this.sums[name] = Float64Array.from(sum)
  }

  add({ loss, weight, count, sums }: Contribution): void {
    // A batch of ignored labels only says nothing, whatever its mean is.
    if (weight !== 0) this.loss += loss * weight
    this.weight += weight
    this.count += count
    for (const [name, sum] of Object.entries(sums)) {
      this.sums[name] ??= new Float64Array(sum.length)
      const total = this.sums[name]
      for (let i = 0; i < total.length; i++) total[i]! += sum[i]!
    }
  }

  measures(): Measures {
    const found: Record<string, MetricValue> = {}
    for (const { prefix, task, metric } of this.measured.parts) {
      const names = [...metric.sums.keys()]
      // Nothing has been added yet.
      if (names.some((name) => !this.sums[prefix + name])) continue
      const sums = Object.fromEntries(names.map((name) => [name, this.sums[prefix + name]!]))
      for (const [name, value] of Object.entries(metric.measure(sums)))
        found[task === '' ? name : `${task}/${name}`] = value
    }
    return { ...found, loss: this.loss / this.weight, count: this.count }
  }

  save(): SavedTally {
    const { loss, weight, count } = this
    return { loss, weight, count, sums: Object.fromEntries(Object.entries(this.sums).map(([k, v]) => [k, [...v]])) }
  }
}
