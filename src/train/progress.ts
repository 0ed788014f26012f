import type { Batch } from '../data/batches.js'
import { emptyAccumulatorState, type Measures, MetricAccumulator } from '../metric/accumulator.js'
import type { BuiltMetrics } from '../metric/build.js'
import { type Optimizer, unwrap } from '../optim/optimizer.js'
import { type PlateauState, plateauStart, plateauStep } from '../optim/plateau.js'
import type { RunProgress } from './checkpoint.js'
import type { RoundMetrics, StepProgress, TrainerOptions } from './options.js'
import { measureOf, type WatchState, watched } from './watch.js'

/** What is told of a round beside its measures. Plain data. */
export type RoundEnd = Omit<RoundMetrics, 'loss' | 'accuracy' | 'count' | 'step' | 'validation'>

export function roundEnd(last: StepProgress, secondsPerStep: number, optimizer: Optimizer): RoundEnd {
  const { epoch, lr, gradientNorm, flatShare } = last
  return { epoch, lr, gradientNorm, ...(unwrap(optimizer).ire ? { flatShare } : {}), secondsPerStep }
}

/** Refuses, before the first evaluation, to go by something that is not measured. Throws `invalid-option`. */
export function checkWatched(measured: BuiltMetrics, { best, earlyStopping, schedule }: TrainerOptions): void {
  const measures = new MetricAccumulator(measured, emptyAccumulatorState(measured)).measures()
  if (best) measureOf(measures, best.metric ?? 'loss')
  if (earlyStopping) measureOf(measures, earlyStopping.metric ?? 'loss')
  if (schedule?.kind === 'plateau') measureOf(measures, schedule.metric ?? 'loss')
}

/** How far a run has come, apart from its arrays. */
export class Progress {
  epoch = 0
  /** Batches of this epoch that are done. */
  batch = 0
  round: MetricAccumulator
  /** Of a round that is whole, until it has been measured. */
  ended: RoundEnd | null = null
  private best: WatchState | null = null
  private stopping: WatchState | null = null
  private plateau: PlateauState = plateauStart
  private readonly measured: BuiltMetrics

  constructor(measured: BuiltMetrics, saved?: RunProgress) {
    this.measured = measured
    this.round = new MetricAccumulator(measured, saved?.round ?? undefined)
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

  newRound(): void {
    this.round = new MetricAccumulator(this.measured)
    this.ended = null
  }

  /** Takes note of what the validation data say; returns whether they have never said better. */
  judge(validation: Measures, step: number, { best, earlyStopping, schedule }: TrainerOptions): boolean {
    if (best) this.best = watched(best, this.best, validation, step)
    if (earlyStopping) this.stopping = watched(earlyStopping, this.stopping, validation, step)
    if (schedule?.kind === 'plateau')
      this.plateau = plateauStep(schedule, this.plateau, measureOf(validation, schedule.metric ?? 'loss'))
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

  save(): RunProgress {
    const { epoch, batch, ended, best, stopping, plateau } = this
    return { epoch, batch, round: this.round.save(), ended, best, stopping, plateau }
  }
}
