import { type Batch, batches } from '../data/batches.js'
import type { Data } from '../data/stream.js'
import type { Graph } from '../ir/value.js'
import type { Measures } from '../metric/tally.js'
import { importGraph } from '../onnx/import.js'
import type { Model } from '../onnx/model.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { learningRateFactor } from '../optim/schedule.js'
import { Random } from '../random.js'
import { layers } from '../step/optimizer.js'
import type { ParameterSettings } from '../step/settings.js'
import { initialState, type OptimizerState } from '../step/state.js'
import { takeStep } from '../step/take-step.js'
import { Alone } from './alone.js'
import { readCheckpoint, writeCheckpoint } from './checkpoint.js'
import { type CheckpointStore, newestOf, type Resumed } from './checkpoint-store.js'
import { conform } from './conform.js'
import { layersBehind } from './depth.js'
import { measureOver } from './evaluate.js'
import { type TrainingGraphs, trainingGraphs } from './graphs.js'
import { frozenOf, settingsOf } from './groups.js'
import { replaceHead } from './head.js'
import { identityOf } from './identity.js'
import { KeptWeights } from './kept.js'
import {
  checkTrainerOptions,
  type FitOptions,
  type RoundMetrics,
  type StepProgress,
  type TrainerOptions,
} from './options.js'
import { fitPlan, type Plan } from './plan.js'
import { type Evaluated, Programs } from './programs.js'
import { checkWatched, Progress, type RoundEnd, roundEnd } from './progress.js'
import { Saver } from './saver.js'
import { withTrained } from './trained.js'
import type { Weights } from './tuned.js'
import { trainableOf } from './weights.js'

/** Fine-tunes one model. Made by `Trainer.create`. */
export class Trainer {
  private readonly model: Model
  private readonly options: TrainerOptions
  private readonly programs: Programs
  private readonly random: Random
  private readonly layersBehind: () => ReadonlyMap<string, number>
  private readonly kept: KeptWeights
  private state: OptimizerState
  private progress: Progress
  private readonly steps = new Alone()

  private constructor(model: Model, options: TrainerOptions, graph: Graph, graphs: TrainingGraphs) {
    this.model = model
    this.options = options
    this.random = new Random(options.seed ?? 0)
    this.layersBehind = () => layersBehind(graph)
    this.programs = new Programs(graphs, options.runtime, options.microBatch)
    this.kept = new KeptWeights(graphs, options)
    this.state = initialState(options.optimizer, this.kept.parameters)
    this.progress = new Progress(graphs.measured.training)
  }

  /**
   * Builds and compiles the training graphs. The model is not changed.
   * Throws `not-differentiable`, `unsupported-operator`, `invalid-model`, `invalid-option`, `runtime`.
   */
  static async create(model: Model, options: TrainerOptions): Promise<Trainer> {
    checkTrainerOptions(options)
    const { ire } = layers(options.optimizer)
    const started = options.head ? replaceHead(model, options.head) : model
    const graph = importGraph(started)
    const frozen = frozenOf([...trainableOf(graph, options.trainable).keys()], options)
    const graphs = trainingGraphs(graph, {
      ...options,
      frozen,
      ...(ire && ire.curvature !== 'empirical' ? { curvature: ire.curvature } : {}),
    })
    const trainer = new Trainer(started, options, graph, graphs)
    try {
      trainer.settings(undefined, true)
      checkWatched(graphs.measured.evaluation, options)
      await trainer.programs.prepare(ire !== null && ire.curvature !== 'empirical')
    } catch (error) {
      await trainer.dispose()
      throw error
    }
    return trainer
  }

  /** Steps done since the beginning of training. */
  get step(): number {
    return this.state.step
  }

  /** The tensors being trained, by name: live arrays, valid between steps. */
  get parameters(): ParameterArrays {
    return this.kept.parameters
  }

  /** What it trains, to measure it: graphs, where they run, and trained tensors and running statistics as live arrays. */
  ground(weights: Weights = 'last') {
    return { graphs: this.programs.graphs, runtime: this.options.runtime, arrays: this.kept.of(weights) }
  }

  /**
   * Trains, yielding the metrics of each round (the last may be a part of one). Goes on from where it is when training
   * was resumed. Ends after the epochs or steps asked for, when a callback or early stopping says so, or on the signal.
   * Throws `invalid-data` for data of another shape, and `not-finite` naming step and tensor; the parameters are then
   * those before that step.
   */
  async *fit(data: Data, options: FitOptions): AsyncGenerator<RoundMetrics, void, undefined> {
    const plan = await fitPlan(data, options, this.options, this.programs, (perEpoch) => this.settings(perEpoch, false))
    const saver = options.checkpoints && new Saver(options.checkpoints, () => this.checkpoint(), options.onCheckpoint)
    let [steps, started, stopped] = [0, Date.now(), false]
    const aborted = () => options.signal?.aborted === true
    const over = () => stopped || aborted() || this.isOver(plan)
    const endRound = async (end: RoundEnd, complete: boolean): Promise<RoundMetrics> => {
      const metrics = await this.endRound(end, options.validation, complete)
      stopped = (await options.onEvaluate?.(metrics)) === 'stop' || stopped
      stopped = (await saver?.save(this.step)) === 'stop' || stopped
      return metrics
    }
    try {
      // A round that was whole when the run was interrupted.
      if (this.progress.ended && !aborted()) yield await endRound(this.progress.ended, true)
      while (!over()) {
        const { step } = this
        for await (const batch of this.batches(data, plan)) {
          const done = await this.steps.run(() => this.trainStep(batch, plan))
          steps++
          this.progress.afterBatch(batch)
          const { evaluateEvery } = options
          const whole = evaluateEvery === undefined ? batch.last : this.step % evaluateEvery === 0
          const end = roundEnd(done, (Date.now() - started) / 1000 / steps, this.options.optimizer)
          if (whole || this.isOver(plan)) this.progress.ended = end
          stopped = (await options.onStep?.(done)) === 'stop'
          // What ends a round is saved once it is measured.
          if (!whole && !over()) stopped = (await saver?.afterStep(this.step)) === 'stop'
          if (!whole && !over()) continue
          // One that is interrupted goes on later: what it came to is told, and measured when it ends.
          yield await endRound(end, this.progress.ended !== null && !aborted())
          ;[steps, started] = [0, Date.now()]
          if (over()) break
        }
        // The run stood in the middle of an epoch that has no more batches than were done: these are other data.
        if (this.step === step) this.progress.nextEpoch()
      }
    } finally {
      await saver?.end()
    }
  }

  /** Loss and metrics over a data set, in the model's evaluation form. */
  async evaluate(data: Data, { weights = 'last' }: { readonly weights?: Weights } = {}): Promise<Measures> {
    const parameters = this.kept.of(weights)
    return measureOver(this.programs, data, this.options.batchSize ?? 32, { parameters, statistics: parameters })
  }

  /**
   * The model with its trained tensors, everything else as it was read. Later steps do not change what was exported.
   * @param options `weights`: of the last step (default), their moving average, or the best ones so far (before any
   *   evaluation those it started with)
   */
  export({ weights = 'last' }: { readonly weights?: Weights } = {}): Model {
    return withTrained(this.model, this.kept.of(weights))
  }

  /** Everything needed to go on later, as a safetensors file; see `writeCheckpoint`. */
  checkpoint(): Uint8Array {
    return writeCheckpoint(identityOf(this.options), this.kept.byRole, this.state, this.progress.save())
  }

  /**
   * Goes on from a checkpoint of the same model, optimizer, seed, batch size and groups.
   * Throws `damaged` or `checkpoint` otherwise, changing nothing.
   */
  restore(checkpoint: Uint8Array): void {
    const { state, progress } = readCheckpoint(checkpoint, identityOf(this.options), this.kept.byRole)
    this.state = state
    this.progress = new Progress(this.programs.graphs.measured.training, progress)
  }

  /** Goes on from the newest checkpoint of a store that is whole; null when there is none, and nothing has changed. */
  async resume(store: CheckpointStore): Promise<Resumed | null> {
    const found = await newestOf(store, (checkpoint) => this.restore(checkpoint))
    return found && { step: found.step, skipped: found.skipped }
  }

  /** Frees the compiled graphs. The runtime stays usable. */
  async dispose(): Promise<void> {
    await this.programs.release()
  }

  /** @param provisional whether epochs may still be of unknown length */
  private settings(perEpoch: number | undefined, provisional: boolean): Record<string, ParameterSettings> {
    const { parameters } = this.programs.graphs
    const epoch = provisional ? (perEpoch ?? 1) : perEpoch
    return settingsOf(parameters, this.options, this.options.optimizer, this.layersBehind, epoch)
  }

  private isOver({ steps, epochs }: Plan): boolean {
    const { earlyStopping } = this.options
    if (earlyStopping && this.progress.waited >= earlyStopping.patience) return true
    return epochs === undefined ? this.step >= steps! : this.progress.epoch >= epochs
  }

  /** The batches of this epoch that are left. */
  private batches(data: Data, { perEpoch = Infinity }: Plan): AsyncGenerator<Batch> {
    const { epoch, batch } = this.progress
    return batches(data, {
      batchSize: this.options.batchSize ?? 32,
      shuffle: this.random.stream('order'),
      epoch,
      start: Math.min(batch, perEpoch),
    })
  }

  private async trainStep(batch: Batch, plan: Plan): Promise<StepProgress> {
    const { steps, perEpoch, settings, curvatureBatch } = plan
    const { optimizer, schedule = { kind: 'constant' }, clipNorm, clipValue } = this.options
    const { parameters, statistics } = this.kept
    const { graphs } = this.programs
    const conformed = ({ tensors, size }: Batch) => ({
      batch: conform(tensors, graphs.data, graphs.loss.labels),
      size,
    })
    const own = conformed(batch)
    const waiting = Object.values(settings).some(({ since = 0 }) => since > this.step)
    const wanted = waiting
      ? new Set(Object.keys(parameters).filter((name) => (settings[name]?.since ?? 0) <= this.step))
      : undefined
    const started = Date.now()
    let first: Evaluated | undefined
    const report = await takeStep(
      optimizer,
      parameters,
      this.state,
      async (kind, at) => {
        const result = await this.programs.gradient({
          kind,
          ...(kind === 'curvature' && curvatureBatch ? conformed(curvatureBatch) : own),
          parameters: at,
          statistics,
          // A stream per step: a resumed run draws what an uninterrupted one draws.
          random: this.random.stream(`${kind} ${this.step}`),
          ...(wanted ? { wanted } : {}),
        })
        if (kind === 'loss') first ??= result
        return kind === 'loss' ? result : { gradients: result.gradients, batchSize: Math.max(1, result.count) }
      },
      {
        lrFactor: learningRateFactor(schedule, this.step, steps ?? Infinity, perEpoch) * this.progress.lrFactor,
        settings,
        ...(clipNorm === undefined ? {} : { clipNorm }),
        ...(clipValue === undefined ? {} : { clipValue }),
      },
    )
    this.progress.round.add(first!)
    // Running statistics follow the unperturbed pass only: neither SAM's second pass nor the curvature moves them.
    this.kept.afterStep(first!.statistics)
    const { epoch } = this.progress
    return { ...report, loss: first!.loss, epoch, steps, examples: batch.size, seconds: (Date.now() - started) / 1000 }
  }

  /** What a round came to; one that is complete is measured, and moves on what goes by the validation data. */
  private async endRound(end: RoundEnd, data: Data | undefined, complete: boolean): Promise<RoundMetrics> {
    const measured = this.progress.round.measures()
    const validation = data && complete ? await this.evaluate(data, { weights: this.kept.measured }) : undefined
    if (complete) this.progress.newRound()
    if (validation && this.progress.judge(validation, this.step, this.options)) this.kept.keepBest()
    const { epoch, ...others } = end
    return { ...measured, epoch, step: this.step, ...(validation ? { validation } : {}), ...others }
  }
}
