import type { Batch } from '../data/batches.js'
import {
  emptyAccumulatorState,
  type Measures,
  MetricAccumulator,
  type MetricAccumulatorState,
} from '../metric/accumulator.js'
import type { BuiltMetrics } from '../metric/metric.js'
import { type Optimizer, unwrap } from '../optim/optimizer.js'
import { type PlateauState, plateauStart, plateauStep } from '../optim/plateau.js'
import { MetricMonitor, type MonitorState, readMetric } from './metric-monitor.js'
import type { IntervalMetrics, StepProgress, TrainerOptions } from './options.js'

/** The metrics of an evaluation interval that come from its last step and from the clock. Plain data. */
export type IntervalEnd = Omit<IntervalMetrics, 'loss' | 'accuracy' | 'count' | 'step' | 'validation'>

/** Summarizes an interval by its last step. */
export function summarizeInterval(last: StepProgress, secondsPerStep: number, optimizer: Optimizer): IntervalEnd {
  const { epoch, lr, gradientNorm, flatShare } = last
  return { epoch, lr, gradientNorm, ...(unwrap(optimizer).ire ? { flatShare } : {}), secondsPerStep }
}

/** Checks that all monitored metrics exist, before the first evaluation. Throws `invalid-option`. */
export function checkMonitors(metrics: BuiltMetrics, { best, earlyStopping, schedule }: TrainerOptions): void {
  const measures = new MetricAccumulator(metrics, emptyAccumulatorState(metrics)).measures()
  if (best) readMetric(measures, best.metric ?? 'loss')
  if (earlyStopping) readMetric(measures, earlyStopping.metric ?? 'loss')
  if (schedule?.kind === 'plateau') readMetric(measures, schedule.metric ?? 'loss')
}

/** Progress of a run, except its arrays and the optimizer. Plain data: checkpoints store it under these names. */
export interface SavedProgress {
  readonly epoch: number
  /** Number of batches of this epoch that are done. */
  readonly batch: number
  /** Training metrics of the current evaluation interval. */
  readonly interval: MetricAccumulatorState | null
  /** Set if the interval is complete but validation has not run yet. */
  readonly ended: IntervalEnd | null
  readonly best: MonitorState | null
  readonly stopping: MonitorState | null
  readonly plateau: PlateauState
}

/**
 * Progress of a run: position in the data, training metrics of the current interval, and monitors of validation
 * metrics.
 */
export class Progress {
  epoch = 0
  /** Number of batches of this epoch that are done. */
  batch = 0
  /** Training metrics of the current evaluation interval. */
  interval: MetricAccumulator
  /** Set if the interval is complete but validation has not run yet. */
  ended: IntervalEnd | null = null
  readonly #metrics: BuiltMetrics
  readonly #options: TrainerOptions
  readonly #best: MetricMonitor | null
  readonly #stopping: MetricMonitor | null
  #plateau: PlateauState = plateauStart

  constructor(metrics: BuiltMetrics, options: TrainerOptions, saved?: SavedProgress) {
    const { best, earlyStopping } = options
    this.#metrics = metrics
    this.#options = options
    this.interval = new MetricAccumulator(metrics, saved?.interval ?? undefined)
    this.#best = best ? new MetricMonitor(best, saved?.best) : null
    this.#stopping = earlyStopping ? new MetricMonitor(earlyStopping, saved?.stopping) : null
    if (!saved) return
    this.epoch = saved.epoch
    this.batch = saved.batch
    this.ended = saved.ended ?? null
    this.#plateau = saved.plateau
  }

  /** Moves the position in the data after a batch. */
  afterBatch({ number, last }: Pick<Batch, 'number' | 'last'>): void {
    if (last) this.nextEpoch()
    else this.batch = number + 1
  }

  nextEpoch(): void {
    this.epoch++
    this.batch = 0
  }

  /** Starts the next evaluation interval. */
  startInterval(): void {
    this.interval = new MetricAccumulator(this.#metrics)
    this.ended = null
  }

  /**
   * Updates monitors and plateau schedule by validation metrics. Returns whether the option `best` has a new best
   * value.
   */
  addValidation(validation: Measures, step: number): boolean {
    const { schedule } = this.#options
    const isBest = this.#best?.add(validation, step) ?? false
    this.#stopping?.add(validation, step)
    if (schedule?.kind === 'plateau')
      this.#plateau = plateauStep(schedule, this.#plateau, readMetric(validation, schedule.metric ?? 'loss'))
    return isBest
  }

  /** Whether early stopping ends training. */
  get isStoppedEarly(): boolean {
    const { earlyStopping } = this.#options
    return earlyStopping !== undefined && this.#stopping!.patienceUsed >= earlyStopping.patience
  }

  /** Learning-rate factor of a plateau schedule; 1 for other schedules. */
  get lrFactor(): number {
    return this.#plateau.factor
  }

  save(): SavedProgress {
    const [best, stopping] = [this.#best?.state ?? null, this.#stopping?.state ?? null]
    const { epoch, batch, ended } = this
    return { epoch, batch, interval: this.interval.save(), ended, best, stopping, plateau: this.#plateau }
  }
}
