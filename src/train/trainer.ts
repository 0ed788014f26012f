import { type Batch, batches } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import type { Graph } from '../ir/value.js'
import type { Measures } from '../metric/accumulator.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import { OnnxIreError } from '../util/errors.js'
import { createFingerprint, readCheckpoint, writeCheckpoint } from './checkpoint/format.js'
import type { WhichWeights } from './checkpoint/model-from-checkpoint.js'
import { type CheckpointStore, loadNewest, type Resumed } from './checkpoint/store.js'
import { CheckpointWriter } from './checkpoint/writer.js'
import { buildGraphs, type TrainingGraphs } from './graphs/build.js'
import { layerDepths } from './model/layer-depths.js'
import { prepareForTraining } from './model/prepare-model.js'
import { replaceHead } from './model/replace-head.js'
import { replaceWeights } from './model/replace-weights.js'
import { findTrainable } from './model/trainable.js'
import { checkTrainerOptions, type FitOptions, type IntervalMetrics, type TrainerOptions } from './options.js'
import { findFrozen, resolveParameterSettings } from './parameter-groups.js'
import { checkMonitors, type IntervalEnd, Progress, summarizeInterval } from './progress.js'
import { type ResolvedFitOptions, resolveFitOptions } from './resolve-fit-options.js'
import { Run } from './run.js'

/** Fine-tunes one model. Made by `Trainer.create`. */
export class Trainer {
  private readonly model: Model
  private readonly options: TrainerOptions
  private readonly graphs: TrainingGraphs
  private readonly layersBehind: () => ReadonlyMap<string, number>
  private readonly run: Run
  private progress: Progress
  /** Where a run on a device goes on from when that is lost, and how often it was lost without a step in between. */
  private snapshot: Uint8Array | undefined
  private losses = { at: -1, times: 0 }

  private constructor(model: Model, options: TrainerOptions, graph: Graph, graphs: TrainingGraphs, run: Run) {
    this.model = model
    this.options = options
    this.graphs = graphs
    this.layersBehind = () => layerDepths(graph)
    this.run = run
    this.progress = new Progress(graphs.measured.training, options)
  }

  /**
   * Builds and compiles the training graphs. The model is not changed.
   * Throws `not-differentiable`, `unsupported-operator`, `invalid-model`, `invalid-option`, `runtime`.
   */
  static async create(model: Model, options: TrainerOptions): Promise<Trainer> {
    checkTrainerOptions(options)
    const { ire } = unwrap(options.optimizer)
    const started = options.head ? replaceHead(model, options.head) : model
    const graph = importGraph(started)
    const form = prepareForTraining(graph, options)
    const frozen = findFrozen([...findTrainable(graph, options.trainable).keys()], options)
    const curvature = ire && ire.curvature !== 'empirical' ? { curvature: ire.curvature } : {}
    const graphs = buildGraphs(form, { ...options, frozen, ...curvature })
    const trainer = new Trainer(started, options, graph, graphs, new Run(graphs, options))
    try {
      trainer.settings(undefined, true)
      checkMonitors(graphs.measured.evaluation, options)
      await trainer.run.prepare()
    } catch (error) {
      await trainer.dispose()
      throw error
    }
    return trainer
  }

  /** Steps done since the beginning of training. */
  get step(): number {
    return this.run.step
  }

  /**
   * The tensors being trained, by name: live arrays, valid between steps.
   * Throws `runtime` in the middle of a round on a device, before `sync`.
   */
  get parameters(): ParameterArrays {
    return this.run.hostWeights.parameters
  }

  /**
   * What it trains, to measure it: graphs, where they run, and trained tensors and running statistics as live arrays.
   * Throws as `parameters`.
   */
  ground(weights: WhichWeights = 'last') {
    return { graphs: this.graphs, runtime: this.options.runtime, arrays: this.run.hostWeights.get(weights) }
  }

  /**
   * Brings parameters and optimizer state from the device to the host, where `parameters`, `export` and `checkpoint` read
   * them. `fit` does it at the end of every round and of training: it is needed in `onStep` only, and does nothing
   * where the runtime keeps no state.
   */
  async sync(): Promise<void> {
    await this.run.sync()
  }

  /**
   * Trains, yielding the metrics of each round (the last may be a part of one). Goes on from where it is when training
   * was resumed. Ends after the epochs or steps asked for, when a callback or early stopping says so, or on the signal.
   * A device that is lost and can be renewed is: the run goes on from its last snapshot, with the same steps.
   * Throws `invalid-data` for data of another shape, and `not-finite` naming step and tensor; the parameters are then
   * those before that step.
   */
  async *fit(data: DatasetOrStream, options: FitOptions): AsyncGenerator<IntervalMetrics, void, undefined> {
    const { run } = this
    const plan = await resolveFitOptions(data, options, this.options, run.programs, (perEpoch) =>
      this.settings(perEpoch, false),
    )
    const saver =
      options.checkpoints && new CheckpointWriter(options.checkpoints, () => this.hold(), options.onCheckpoint)
    let [steps, started, stopped] = [0, Date.now(), false]
    const aborted = () => options.signal?.aborted === true
    const over = () => stopped || aborted() || this.isOver(plan)
    const endRound = async (end: IntervalEnd, complete: boolean): Promise<IntervalMetrics> => {
      const metrics = await this.endRound(end, options.validation, complete)
      stopped = (await options.onEvaluate?.(metrics)) === 'stop' || stopped
      stopped = (await saver?.save(this.step)) === 'stop' || stopped
      ;[steps, started] = [0, Date.now()]
      return metrics
    }
    try {
      if (this.options.runtime.device?.renew) await this.hold()
      for (;;) {
        try {
          // A round that was whole when the run was interrupted.
          if (this.progress.ended && !aborted()) yield await endRound(this.progress.ended, true)
          if (over()) break
          const { step } = this
          for await (const batch of this.batches(data, plan)) {
            const done = await run.takeStep(batch, plan, this.progress)
            steps++
            this.progress.afterBatch(batch)
            const { evaluateEvery } = options
            const whole = evaluateEvery === undefined ? batch.last : this.step % evaluateEvery === 0
            const end = summarizeInterval(done, (Date.now() - started) / 1000 / steps, this.options.optimizer)
            if (whole || this.isOver(plan)) this.progress.ended = end
            const verdict = await options.onStep?.(done)
            stopped = verdict === 'stop'
            if (verdict === 'save' && !saver) throw nowhereToSave()
            // What ends a round is saved once it is measured.
            if (!whole && !over()) stopped = (await saver?.afterStep(this.step, verdict === 'save')) === 'stop'
            if (!whole && !over()) continue
            // One that is interrupted goes on later: what it came to is told, and measured when it ends.
            yield await endRound(end, this.progress.ended !== null && !aborted())
            if (over()) break
          }
          // The run stood in the middle of an epoch that has no more batches than were done: these are other data.
          if (this.step === step) this.progress.nextEpoch()
        } catch (error) {
          if (!(await this.renewed(error))) throw error
          stopped = (await options.onDeviceLost?.(this.step)) === 'stop'
        }
      }
    } finally {
      // Where the loop over the metrics was left, or a step failed. What a lost device held is lost.
      await run.sync().catch(() => {})
      await saver?.end()
    }
  }

  /** Loss and metrics over a data set, in the model's evaluation form. */
  async evaluate(
    data: DatasetOrStream,
    { weights = 'last' }: { readonly weights?: WhichWeights } = {},
  ): Promise<Measures> {
    return this.run.evaluate(data, weights)
  }

  /**
   * The model with its trained tensors, everything else as it was read. Later steps do not change what was exported.
   * Throws as `parameters`.
   * @param options `weights`: of the last step (default), their moving average, or the best ones so far (before any
   *   evaluation those it started with)
   */
  export({ weights = 'last' }: { readonly weights?: WhichWeights } = {}): Model {
    return replaceWeights(this.model, this.run.hostWeights.get(weights))
  }

  /** Everything needed to go on later, as a safetensors file; see `writeCheckpoint`. Throws as `parameters`. */
  checkpoint(): Uint8Array {
    const { hostWeights, state } = this.run
    return writeCheckpoint(createFingerprint(this.options), hostWeights.groups, state, this.progress.save())
  }

  /**
   * Goes on from a checkpoint of the same model, optimizer, seed, batch size and groups.
   * Throws `damaged` or `checkpoint` otherwise, changing nothing.
   */
  restore(checkpoint: Uint8Array): void {
    const { state, progress } = readCheckpoint(checkpoint, createFingerprint(this.options), this.run.arrays)
    this.run.state = state
    this.progress = new Progress(this.graphs.measured.training, this.options, progress)
  }

  /** Goes on from the newest checkpoint of a store that is whole; null when there is none, and nothing has changed. */
  async resume(store: CheckpointStore): Promise<Resumed | null> {
    const found = await loadNewest(store, (checkpoint) => this.restore(checkpoint))
    return found && { step: found.step, skipped: found.skipped }
  }

  /** Frees the compiled graphs. The runtime stays usable. */
  async dispose(): Promise<void> {
    await this.run.sync().catch(() => {}) // what a lost device held is lost
    await this.run.dispose()
  }

  /** @param provisional whether epochs may still be of unknown length */
  private settings(perEpoch: number | undefined, provisional: boolean): Record<string, ParameterSettings> {
    const epoch = provisional ? (perEpoch ?? 1) : perEpoch
    return resolveParameterSettings(
      this.graphs.parameters,
      this.options,
      this.options.optimizer,
      this.layersBehind,
      epoch,
    )
  }

  private isOver({ steps, epochs }: ResolvedFitOptions): boolean {
    if (this.progress.isStoppedEarly) return true
    return epochs === undefined ? this.step >= steps! : this.progress.epoch >= epochs
  }

  /** The batches of this epoch that are left. */
  private batches(data: DatasetOrStream, { perEpoch = Infinity }: ResolvedFitOptions): AsyncGenerator<Batch> {
    const { epoch, batch } = this.progress
    return batches(data, {
      batchSize: this.options.batchSize ?? 32,
      shuffle: this.run.random.stream('order'),
      epoch,
      start: Math.min(batch, perEpoch),
    })
  }

  /** What a round came to; one that is complete is measured, and moves on what goes by the validation data. */
  private async endRound(
    end: IntervalEnd,
    data: DatasetOrStream | undefined,
    complete: boolean,
  ): Promise<IntervalMetrics> {
    const { run } = this
    if (this.options.runtime.device?.renew) await this.hold()
    await run.sync()
    const measured = this.progress.interval.measures()
    const validation = data && complete ? await this.evaluate(data, { weights: run.validatedWeights }) : undefined
    if (complete) this.progress.startInterval()
    if (validation && this.progress.addValidation(validation, this.step)) run.hostWeights.saveBest()
    const { epoch, ...others } = end
    return { ...measured, epoch, step: this.step, ...(validation ? { validation } : {}), ...others }
  }

  /** A checkpoint of this moment, to which a lost device falls back. */
  private async hold(): Promise<Uint8Array> {
    await this.run.sync()
    this.snapshot = this.checkpoint()
    return this.snapshot
  }

  /** Whether an error was the loss of a device that could be renewed: the run then stands where it was last held. */
  private async renewed(error: unknown): Promise<boolean> {
    if (!(error instanceof OnnxIreError) || error.code !== 'device-lost' || !this.snapshot) return false
    const { step } = this
    this.losses = { at: step, times: step > this.losses.at ? 1 : this.losses.times + 1 }
    if (this.losses.times > 3 || !(await this.run.recover())) return false
    this.restore(this.snapshot)
    return true
  }
}

const nowhereToSave = () =>
  new OnnxIreError('invalid-option', "fit: onStep answered 'save': say where, by the option checkpoints")
