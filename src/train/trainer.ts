/// <reference lib="esnext.disposable" preserve="true" />
import type { DatasetOrStream } from '../data/stream.js'
import type { Graph } from '../ir/value.js'
import type { Measures } from '../metric/accumulator.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import type { Runtime } from '../runtime/runtime.js'
import { checkArguments } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { orReason } from '../util/until-aborted.js'
import type { FeatureCache } from './cached-features.js'
import { checkFitData, type FitData, summarizeData } from './checkpoint/checksums.js'
import type { WeightSelection } from './checkpoint/model-from-checkpoint.js'
import { type CheckpointStore, loadNewest, type Resumed } from './checkpoint/store.js'
import type { EvaluateOptions } from './evaluate.js'
import { FitLoop, hasReachedTotals, resolveFitOptions } from './fit.js'
import { buildGraphs, type TrainingGraphs } from './graphs/build.js'
import { prepareForTraining } from './model/prepare-model.js'
import { replaceWeights } from './model/replace-weights.js'
import { separateStatistics } from './model/separate-statistics.js'
import { createStartModel } from './model/start-model.js'
import { findTrainable } from './model/trainable.js'
import {
  checkStore,
  checkTrainerOptions,
  curvatureShareOf,
  type FitOptions,
  type IntervalMetrics,
  type TrainerOptions,
} from './options.js'
import { checkGroupsMatch, findFrozen, layerDepths, resolveParameterSettings } from './parameter-groups.js'
import { broadcastBytes } from './process-group.js'
import { checkMonitors } from './progress.js'
import { Run, type StageBuilder } from './run.js'

/** The internals of a trainer that `LossSurface` needs. */
interface TrainerInternals {
  readonly graphs: TrainingGraphs
  readonly runtime: Runtime
  /**
   * Returns the current trained tensors and running statistics.
   * @throws OnnxIreError `runtime` within an evaluation interval on a device
   */
  readonly weights: () => ParameterArrays
}

let readInternals!: (trainer: Trainer, weights: WeightSelection) => TrainerInternals

/**
 * Fine-tunes an ONNX model. Created by `Trainer.create`.
 *
 * @example
 * const runtime = node()
 * const data = fromArrays({ image: { dims: [1000, 3, 32, 32], data: pixels }, labels: labelColumn(classes) })
 * const optimizer = ire(adamw({ lr: 1e-3 }))
 * const trainer = await Trainer.create(await readModel('model.onnx'), { loss: crossEntropy(), optimizer, runtime })
 * const metrics = await trainer.train(data, { totalEpochs: 3 })
 * await writeModel('tuned.onnx', trainer.export())
 * await trainer.dispose()
 */
export class Trainer implements AsyncDisposable {
  readonly #model: Model
  readonly #options: TrainerOptions
  readonly #graph: Graph
  readonly #run: Run
  /** The features of the data; undefined without the option `features`. */
  readonly #features: FeatureCache | undefined
  /** The data of the checkpoint that was restored, until the next `fit` continues on them. */
  #restoredData: FitData | undefined

  static {
    readInternals = (trainer, weights) => {
      const current = () => trainer.#run.hostWeights.get(weights)
      current() // reports weights that the trainer does not have
      return { graphs: trainer.#run.programs.graphs, runtime: trainer.#options.runtime, weights: current }
    }
  }

  private constructor(
    model: Model,
    options: TrainerOptions,
    graph: Graph,
    run: Run,
    features: FeatureCache | undefined,
  ) {
    this.#model = model
    this.#options = options
    this.#graph = graph
    this.#run = run
    this.#features = features
  }

  /**
   * Creates a trainer: builds the training graphs of a model and compiles them. The model is not changed.
   *
   * @example
   * const trainer = await Trainer.create(model, {
   *   loss: crossEntropy(),
   *   optimizer: ire(adamw({ lr: 1e-3 })),
   *   runtime: node(),
   *   head: { classes: 5 },
   *   batchSize: 64,
   * })
   *
   * @throws OnnxIreError `not-differentiable`, `unsupported-operator`, `invalid-model`, `invalid-option`, `runtime`
   */
  static async create(model: Model, given: TrainerOptions): Promise<Trainer> {
    checkArguments('Trainer.create(model, { loss, optimizer, runtime })', { options: given })
    checkTrainerOptions(given)
    // Loaded when needed, as in `createStartModel`.
    const { freeBatch } = given.freeBatch ? await import('./model/free-batch.js') : {}
    const free = freeBatch ? (await freeBatch(model, given)).model : model
    const { model: started, ...choice } = await createStartModel(free, given)
    const chosen = { ...given, ...choice }
    const { ire } = unwrap(chosen.optimizer)
    const original = chosen.batchNorm === 'trained' ? separateStatistics(started) : started
    const graph = importGraph(original)
    const prepared = prepareForTraining(graph, chosen)
    const frozen = findFrozen([...findTrainable(graph, chosen.trainable).keys()], chosen)
    const curvature = ire && ire.curvature !== 'empirical' ? { curvature: ire.curvature } : {}
    const { batchSize = 32, microBatch = batchSize, runtime } = chosen
    const shared = { ...chosen, ...curvature, provider: runtime.provider, batchSize: Math.min(batchSize, microBatch) }
    const graphs = buildGraphs(prepared, { ...shared, frozen })
    const options = { ...chosen, curvatureShare: curvatureShareOf(chosen, graphs.statistics.size > 0) }
    checkGroupsMatch([...graphs.parameters.keys(), ...frozen], options)
    const { features } = options
    const cached = features === undefined ? undefined : await import('./cached-features.js')
    const buildStage: StageBuilder | undefined =
      cached && ((trained) => cached.buildFeatureStage(prepared.graph, graphs, trained, shared))
    const start = { file: original, graph, outputs: [...prepared.graph.outputs.values()] }
    const run = new Run(graphs, options, start, buildStage)
    const store = typeof features === 'object' ? features : undefined
    const cache = cached && new cached.FeatureCache(runtime, graphs, shared.batchSize, store)
    const trainer = new Trainer(original, options, graph, run, cache)
    try {
      const settings = trainer.#resolveSettings(1) // reports errors of all groups whose settings need no data
      checkMonitors(graphs.metrics.evaluation, options)
      cached?.checkFeatures(run.stageAt(0, settings), graphs, settings)
      await run.prepare(settings)
    } catch (error) {
      await trainer.dispose()
      throw error
    }
    return trainer
  }

  /** Number of steps since the beginning of training. */
  get step(): number {
    return this.#run.step
  }

  /**
   * Returns the trained tensors by name, after `sync`: live arrays that the next step may overwrite.
   * @throws OnnxIreError `device-lost` or `runtime` if they cannot be downloaded from the device
   */
  async parameters(): Promise<ParameterArrays> {
    await this.#run.sync()
    return this.#run.hostWeights.parameters
  }

  /**
   * Downloads parameters and optimizer state from the device, for `export` and `checkpoint`. `fit` does so at the end
   * of every interval and of training, so a call is only necessary in `onStep`. Does nothing if the host has the
   * current state. With `shardOptimizer` it collects the optimizer's state in rank 0, for `checkpoint` there: each
   * process of the group calls it, and `fit` does so only to save a checkpoint.
   */
  async sync(): Promise<void> {
    await this.#run.sync()
    await this.#run.collect()
  }

  /**
   * Trains to the end, and returns the metrics of the last evaluation interval. See `fit` for options and errors.
   *
   * @example
   * const metrics = await trainer.train(data, { totalEpochs: 3, validation })
   * console.log(metrics?.validation?.accuracy)
   *
   * @returns null if `signal` was aborted before the first step
   */
  async train(data: DatasetOrStream, options: FitOptions): Promise<IntervalMetrics | null> {
    let last: IntervalMetrics | null = null
    for await (const metrics of this.fit(data, options)) last = metrics
    return last
  }

  /**
   * Trains, and yields the metrics of every evaluation interval. Continues from the current step, also after `resume`.
   * Ends when the total number of epochs or steps is reached, after early stopping, if a callback returns 'stop', or on
   * the signal; the last interval may then be incomplete. If a device is lost and can be replaced, training continues
   * from the last snapshot with the same steps.
   *
   * @example
   * for await (const { epoch, loss, validation } of trainer.fit(data, { totalEpochs: 10, validation: testData })) {
   *   console.log(epoch, loss, validation?.accuracy)
   * }
   *
   * @throws OnnxIreError `invalid-data` for data of another shape, or with a NaN; `not-finite` naming step and tensor,
   * and an infinity in the batch; both with the parameters from before that step; `invalid-option`, also if there is
   * nothing to do: see `isFinished`; `locked` if another run writes to the store of checkpoints; `checkpoint` for other
   * data than those of a restored checkpoint
   */
  async *fit(data: DatasetOrStream, options: FitOptions): AsyncGenerator<IntervalMetrics, void, undefined> {
    const run = this.#run
    const resolved = await resolveFitOptions(data, options, this.#options, run.programs, (stepsPerEpoch) =>
      this.#resolveSettings(stepsPerEpoch),
    )
    if (!options.signal?.aborted && this.isFinished(options)) throw this.#nothingToDo(options)
    await this.#identifyData(data, options)
    yield* new FitLoop(run, data, this.#options, options, resolved, this.#features).run()
  }

  /**
   * Whether a `fit` with these options has nothing to do: training has reached the totals, or early stopping has ended
   * it.
   *
   * @example
   * await trainer.resume(store)
   * if (!trainer.isFinished(options)) await trainer.train(data, options)
   */
  isFinished(options: Pick<FitOptions, 'totalSteps' | 'totalEpochs'>): boolean {
    return this.#run.progress.ended === null && hasReachedTotals(this.#run, options)
  }

  /**
   * Evaluates loss and metrics over a data set, with BatchNormalization and Dropout in inference mode.
   * @param options `weights`: 'last' (default), 'ema' or 'best'; `signal`: see `EvaluateOptions`, without effect in
   * several processes
   */
  async evaluate(
    data: DatasetOrStream,
    { weights = 'last', signal }: { readonly weights?: WeightSelection } & Pick<EvaluateOptions, 'signal'> = {},
  ): Promise<Measures> {
    const isGroup = (this.#options.processGroup?.size ?? 1) > 1
    return orReason(this.#run.evaluate(data, weights, { signal: isGroup ? undefined : signal }))
  }

  /**
   * Exports the model with its trained tensors; everything else is as in the original file. Later steps do not change
   * an exported model.
   * @param options `weights`: 'last' (default), 'ema', or 'best' (the initial ones before any evaluation)
   * @throws OnnxIreError `runtime` within an evaluation interval on a device: call `sync` first; `not-finite` for a
   * weight that is too large for its type in the file
   */
  export({ weights = 'last' }: { readonly weights?: WeightSelection } = {}): Model {
    return replaceWeights(this.#model, this.#run.hostWeights.get(weights))
  }

  /**
   * Creates a checkpoint, a safetensors file with the complete state of the run; docs/checkpoints.md has the
   * format.
   * @throws OnnxIreError `runtime` within an evaluation interval on a device, and with `shardOptimizer`: call `sync`
   * first
   */
  checkpoint(): Uint8Array {
    return this.#run.checkpoint()
  }

  /**
   * Continues from a checkpoint of the same model and loss, with the same optimizer, seed, batch size and groups. The
   * next `fit` has to be on the same data.
   * @throws OnnxIreError `damaged` for a damaged file, `checkpoint` for another run; nothing has changed then
   */
  restore(checkpoint: Uint8Array): void {
    this.#restoredData = this.#run.restore(checkpoint)
  }

  /**
   * Continues from the newest checkpoint of a store that is not damaged. Returns null, without any change, if the store
   * is empty. Of several processes only rank 0 reads the store; their number may differ from that of the saved run.
   * @throws OnnxIreError `damaged` if all checkpoints are damaged, `checkpoint` for another run
   */
  async resume(store: CheckpointStore): Promise<Resumed | null> {
    checkStore('resume', store)
    const { processGroup: group } = this.#options
    let restored: Uint8Array | null = null
    const restore = (checkpoint: Uint8Array) => {
      this.restore(checkpoint)
      restored = checkpoint
    }
    const found = group && group.rank > 0 ? null : await loadNewest(store, restore)
    if (!group || group.rank === 0) {
      if (group) await broadcastBytes(group, restored)
      return found && { step: found.step, skipped: found.skipped }
    }
    const sent = await broadcastBytes(group, null)
    if (sent) this.restore(sent)
    return sent && { step: this.step, skipped: [] }
  }

  /**
   * Releases the compiled graphs and all device memory. The runtime remains usable, and so do `export` and
   * `checkpoint`.
   */
  async dispose(): Promise<void> {
    await this.#run.sync().catch(() => {}) // the state on a lost device cannot be downloaded
    await this.#run.dispose()
    await this.#features?.release()
  }

  /** The same as `dispose`, at the end of a block with `await using trainer = await Trainer.create(...)`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  /**
   * Computes the checksums of data for checkpoints. Throws `checkpoint` if a restored run was trained on other data.
   */
  async #identifyData(data: DatasetOrStream, { validation, checkpoints }: FitOptions): Promise<void> {
    const isNeeded = checkpoints !== undefined || this.#restoredData !== undefined
    const own = isNeeded
      ? { training: await summarizeData(data), ...(validation ? { validation: await summarizeData(validation) } : {}) }
      : undefined
    if (own && this.#restoredData) checkFitData(this.#restoredData, own)
    this.#restoredData = undefined
    this.#run.data = own
  }

  #resolveSettings(stepsPerEpoch: number | undefined): Record<string, ParameterSettings> {
    const { parameters } = this.#run.programs.graphs
    const { optimizer } = this.#options
    return resolveParameterSettings(parameters, this.#options, optimizer, () => layerDepths(this.#graph), stepsPerEpoch)
  }

  #nothingToDo({ totalEpochs, totalSteps }: FitOptions): OnnxIreError {
    const { step, progress } = this.#run
    const reason = progress.isStoppedEarly
      ? `early stopping has ended training at step ${step}`
      : totalEpochs === undefined
        ? `training is at step ${step}, and totalSteps is ${totalSteps}: raise totalSteps, which counts from the beginning of training`
        : `training is at epoch ${progress.epoch}, and totalEpochs is ${totalEpochs}: raise totalEpochs, which counts from the beginning of training`
    return new OnnxIreError('invalid-option', `fit: nothing to do: ${reason}, or check isFinished(options) before fit`)
  }
}

/**
 * Returns the internals of a trainer, for `LossSurface`. Not part of the public API.
 * @throws OnnxIreError `invalid-option` for weights that the trainer does not have, `runtime` within an evaluation
 * interval on a device
 */
export const trainerInternals = (trainer: Trainer, weights: WeightSelection = 'last'): TrainerInternals =>
  readInternals(trainer, weights)
