import type { Batch } from '../data/batches.js'
import {
  emptyAccumulatorState,
  type Measures,
  MetricAccumulator,
  type MetricAccumulatorState,
} from '../metric/accumulator.js'
import type { BuiltMetrics } from '../metric/build.js'
import { type Optimizer, unwrap } from '../optim/optimizer.js'
import { type PlateauState, plateauStart, plateauStep } from '../optim/plateau.js'
import { type MonitorState, readMetric, watched } from './metric-monitor.js'
import type { IntervalMetrics, StepProgress, TrainerOptions } from './options.js'

/** What is told of a round beside its measures. Plain data. */
export type IntervalEnd = Omit<IntervalMetrics, 'loss' | 'accuracy' | 'count' | 'step' | 'validation'>

export function summarizeInterval(last: StepProgress, secondsPerStep: number, optimizer: Optimizer): IntervalEnd {
  const { epoch, lr, gradientNorm, flatShare } = last
  return { epoch, lr, gradientNorm, ...(unwrap(optimizer).ire ? { flatShare } : {}), secondsPerStep }
}

/** Refuses, before the first evaluation, to go by something that is not measured. Throws `invalid-option`. */
export function checkMonitors(measured: BuiltMetrics, { best, earlyStopping, schedule }: TrainerOptions): void {
  const measures = new MetricAccumulator(measured, emptyAccumulatorState(measured)).measures()
  if (best) readMetric(measures, best.metric ?? 'loss')
  if (earlyStopping) readMetric(measures, earlyStopping.metric ?? 'loss')
  if (schedule?.kind === 'plateau') readMetric(measures, schedule.metric ?? 'loss')
}

/** How far a run has come, apart from its arrays. */
export class Progress {
  epoch = 0
  /** Batches of this epoch that are done. */
  batch = 0
  interval: MetricAccumulator
  /** Of a round that is whole, until it has been measured. */
  ended: IntervalEnd | null = null
  private best: MonitorState | null = null
  private stopping: MonitorState | null = null
  private plateau: PlateauState = plateauStart
  private readonly measured: BuiltMetrics

  constructor(measured: BuiltMetrics, saved?: SavedProgress) {
    this.measured = measured
    this.interval = new MetricAccumulator(measured, saved?.round ?? undefined)
    if (!saved) return
    this.epoch = saved.epoch
    this.batch = saved.batch
    this.ended = saved.ended ?? null
    this.best = saved.best
    this.stopping = saved.stopping
    this.plateau = saved.plateau
  }

  afterBatch({ number, last }: Pick<Batch, 'number' | 'last'>): void {
    if (last) this.nextEpoch()
    else this.batch = number + 1
  }

  nextEpoch(): void {
    this.epoch++
    this.batch = 0
  }

  startInterval(): void {
    this.interval = new MetricAccumulator(this.measured)
    this.ended = null
  }

  /** Takes note of what the validation data say; returns whether they have never said better. */
  judge(validation: Measures, step: number, { best, earlyStopping, schedule }: TrainerOptions): boolean {
    if (best) this.best = watched(best, this.best, validation, step)
    if (earlyStopping) this.stopping = watched(earlyStopping, this.stopping, validation, step)
    if (schedule?.kind === 'plateau')
      this.plateau = plateauStep(schedule, this.plateau, readMetric(validation, schedule.metric ?? 'loss'))
    return this.best?.waited === 0
  }

  /** Evaluations in a row that were not better, as early stopping counts them. */
  get waited(): number {
    return this.stopping?.waited ?? 0
  }

  /** What a plateau schedule has come down to. */
  get lrFactor(): number {
    return this.plateau.factor
  }

  save(): SavedProgress {
    const { epoch, batch, ended, best, stopping, plateau } = this
    return { epoch, batch, round: this.interval.save(), ended, best, stopping, plateau }
  }
}

/** How far a run has come, apart from its arrays and the optimizer. Plain data. */
export interface SavedProgress {
  readonly epoch: number
  /** Batches of this epoch that are done. */
  readonly batch: number
  /** What the unfinished round came to so far. */
  readonly round: MetricAccumulatorState | null
  /** Where that is whole and has still to be measured: what is told of it. */
  readonly ended: IntervalEnd | null
  readonly best: MonitorState | null
  readonly stopping: MonitorState | null
  readonly plateau: PlateauState
}
