import type { TensorMap, TrainingBackend, TrainingState } from '../backend/backend.js'
import { createBackend } from '../backend/create-backend.js'
import { type GradientFunction, runStep, type StepContext, type StepReport } from '../backend/step.js'
import type { Batch } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { Graph, Value } from '../ir/value.js'
import type { Measures } from '../metric/accumulator.js'
import type { Model } from '../onnx/model.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { createRules, type Rules } from '../optim/base-optimizer.js'
import { refreshesAt } from '../optim/ire/ire.js'
import type { FlatMask } from '../optim/ire/mask.js'
import { unwrap } from '../optim/optimizer.js'
import { learningRateFactor } from '../optim/schedule.js'
import { initialState, type OptimizerState } from '../optim/state.js'
import type { DeviceTensor } from '../runtime/device.js'
import { SerialQueue } from '../util/concurrent.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { getOwn } from '../util/record.js'
import type { Signal } from '../util/until-aborted.js'
import type { FeatureStage } from './cached-features.js'
import type { FitData, SourceChecksums } from './checkpoint/checksums.js'
import { createFingerprint, decodeCheckpoint, encodeCheckpoint } from './checkpoint/format.js'
import type { WeightSelection } from './checkpoint/model-from-checkpoint.js'
import { checksumSources } from './checkpoint/run-checksums.js'
import { CompressedSum } from './compressed-sum.js'
import { describeTensors } from './describe-tensors.js'
import { evaluateBatches } from './evaluate.js'
import type { TrainingGraphs } from './graphs/build.js'
import { GroupShard } from './group-shard.js'
import { LocalSteps } from './local-steps.js'
import type { BatchResult } from './micro-batches.js'
import type { ResolvedFitOptions, StepProgress, TrainerOptions } from './options.js'
import { blameBatch, prepareBatch } from './prepare-batch.js'
import { checkEqual, type ProcessGroup, type SumGradients } from './process-group.js'
import { Programs } from './programs.js'
import { Progress } from './progress.js'
import { measureTensors } from './tensor-measures.js'
import { WeightStore } from './weight-store.js'

/** The model of a run, for the checksums in its checkpoints. */
interface RunModel {
  readonly file: Model
  readonly graph: Graph
  /** Outputs that the loss is built onto. */
  readonly outputs: readonly Value[]
}

/**
 * Builds the graphs of the layers after the frozen part of a model, and the features that they read; null if no part
 * of the model is frozen.
 * @param trained names of the parameters that are trained
 */
export type StageBuilder = (
  trained: ReadonlySet<string>,
) => { readonly graphs: TrainingGraphs; readonly features: FeatureStage['features'] } | null

/** The state before a measured step. */
interface StateCopy {
  readonly parameters: ParameterArrays
  /** `flat` of the mask, if the step refreshes it. */
  readonly lastFlat: FlatMask['flat'] | undefined
}

/** Options of one step, with the programs that the batch is an input of. Default: those of the whole model. */
interface StepOptions extends ResolvedFitOptions {
  readonly programs?: Programs<TensorMap>
  /** Whether the trained tensors are measured. */
  readonly measured: boolean
}

/** A training run: weights, optimizer state, progress and backend, single steps, and checkpoints. */
export class Run {
  readonly programs: Programs<TensorMap>
  readonly random: Random
  /** The data of the current `fit`, for its checkpoints. */
  data: FitData | undefined
  readonly #model: RunModel
  #sources: SourceChecksums | undefined
  readonly #options: TrainerOptions
  readonly #rules: Rules
  readonly #backend: TrainingBackend<TensorMap>
  readonly #buildStage: StageBuilder | undefined
  /** Stages of training with cached features, by the names of the parameters that are trained. */
  readonly #stages = new Map<string, FeatureStage | null>()
  readonly #weights: WeightStore
  /** The share of this process in the optimizer's state; undefined if it has all. */
  readonly #shard: GroupShard | undefined
  /** The whole optimizer state of the current step, after `collect` in rank 0. */
  #collected: OptimizerState | undefined
  /** Rounds of local steps, if the run has them. */
  readonly #local: LocalSteps | undefined
  /** Sums of the first and the second gradient of a step, with the option gradientCompression. SAM has a second one. */
  readonly #compressed: readonly CompressedSum[]
  #progress: Progress
  #state: OptimizerState
  /** The state that the backend has. */
  #loaded: OptimizerState | undefined
  /** Whether the backend is ahead of the host arrays. */
  #hostIsStale = false
  #stepping = false
  /** Steps change what a sync or an evaluation reads: they run one at a time. */
  readonly #queue = new SerialQueue()

  /** Throws `invalid-option` if the runtime's device cannot train the model. */
  constructor(graphs: TrainingGraphs, options: TrainerOptions, model: RunModel, buildStage?: StageBuilder) {
    this.#model = model
    const { runtime, optimizer, microBatch, seed = 0 } = options
    this.#options = options
    this.random = new Random(seed)
    this.#weights = new WeightStore(graphs, options, () => this.#state.moments)
    const { base } = unwrap(optimizer)
    this.#rules = createRules(base, base.ruleOf ? describeTensors(graphs.parameters, model.graph, options) : undefined)
    if (options.shardOptimizer && this.#group)
      this.#shard = new GroupShard(this.#group, this.#weights.parameters, options, this.#rules)
    this.#state = initialState(optimizer, this.#weights.parameters, this.#rules, this.#shard?.holds)
    const spec = { optimizer, parameters: graphs.parameters, rules: this.#rules, shard: this.#shard }
    this.#backend = createBackend(runtime, spec)
    this.programs = new Programs(graphs, this.#backend, microBatch, this.#group)
    const { localSteps, gradientCompression } = options
    const group = this.#group
    this.#compressed = group && gradientCompression ? [new CompressedSum(group), new CompressedSum(group)] : []
    const metrics = graphs.metrics.training
    this.#local = localSteps && new LocalSteps(localSteps, group, this.#weights.outer!, this.#state, metrics)
    this.#buildStage = buildStage
    this.#progress = new Progress(graphs.metrics.training, options)
  }

  /** Compiles the training graphs of the first step. */
  async prepare(settings: ResolvedFitOptions['settings']): Promise<void> {
    const { ire } = unwrap(this.#options.optimizer)
    const { programs } = this.stageAt(0, settings) ?? this
    await programs.prepare(ire !== null && ire.curvature !== 'empirical')
  }

  /** The stage of a step that trains on cached features, the same object for all its steps; null for other steps. */
  stageAt(step: number, settings: ResolvedFitOptions['settings']): FeatureStage | null {
    if (!this.#buildStage) return null
    const trained = this.#trainedAt(step, settings) ?? new Set(Object.keys(this.#weights.parameters))
    const key = [...trained].join('\n')
    let stage = this.#stages.get(key)
    if (stage === undefined) {
      const built = this.#buildStage(trained)
      const { microBatch } = this.#options
      const programs = built && new Programs(built.graphs, this.#backend, microBatch, this.#group)
      stage = programs && { programs, features: built.features }
      this.#stages.set(key, stage)
    }
    return stage
  }

  /** The group, if it has other processes. */
  get #group(): ProcessGroup | undefined {
    const { processGroup: group } = this.#options
    return group?.size === 1 ? undefined : group
  }

  /** Number of steps since the beginning of training. */
  get step(): number {
    return this.#state.step
  }

  /** The position in the data, and the metrics so far. `restore` replaces the object. */
  get progress(): Progress {
    return this.#progress
  }

  /** The weights that validation evaluates. */
  get validatedWeights(): WeightSelection {
    return this.#weights.validated
  }

  /** The weights on the host. Throws `runtime` if a device is ahead of them. */
  get hostWeights(): WeightStore {
    if (this.#hostIsStale) throw this.#staleHostError()
    return this.#weights
  }

  /** Whether the optimizer's state is divided among the processes of the group. */
  get isSharded(): boolean {
    return this.#shard !== undefined
  }

  /**
   * Collects an optimizer state that is divided among processes, in rank 0, for `checkpoint`. All of them call this.
   */
  async collect(): Promise<void> {
    const shard = this.#shard
    if (shard) this.#collected = await this.#queue.run(() => shard.collect(this.#state))
  }

  /** Whether the processes of the group have the same state: not within a round of local steps. */
  get isAveraged(): boolean {
    return (this.#local?.taken ?? 0) === 0
  }

  /**
   * Creates a checkpoint of the host arrays and the progress; see `encodeCheckpoint`. Throws as `hostWeights`, and
   * `runtime` within a round of local steps and if the optimizer's state is not collected.
   */
  checkpoint(): Uint8Array {
    if (!this.isAveraged)
      throw new OnnxIreError(
        'runtime',
        `step ${this.step} is within a round of local steps, from which no run can resume: return 'save' from onStep, which saves a checkpoint after the round`,
      )
    const { groups } = this.hostWeights
    const state = this.#shard ? this.#collected : this.#state
    if (!state)
      throw new OnnxIreError(
        'runtime',
        `the optimizer's state of step ${this.step} is divided among processes: await trainer.sync() in each of them, then call checkpoint in rank 0`,
      )
    const sources = { ...this.#readSources(), ...(this.data ? { data: this.data } : {}) }
    return encodeCheckpoint(createFingerprint(this.#options), groups, state, this.#progress.save(), sources)
  }

  /**
   * Continues from a checkpoint, and returns the data that it was trained on, if known. Throws `damaged` or
   * `checkpoint` without any change.
   */
  restore(checkpoint: Uint8Array): FitData | undefined {
    const run = createFingerprint(this.#options)
    const optimizer = { rules: this.#rules, holds: this.#shard?.holds }
    const restored = decodeCheckpoint(checkpoint, run, this.#weights.groups, optimizer, () => this.#readSources())
    this.#state = restored.state
    this.#collected = undefined
    this.#hostIsStale = false
    this.#local?.reset()
    for (const sum of this.#compressed) sum.reset()
    this.#progress = new Progress(this.programs.graphs.metrics.training, this.#options, restored.progress)
    this.data = restored.data
    return restored.data
  }

  /** Computes the checksums of model, loss and metrics, once. */
  #readSources(): SourceChecksums {
    const { parameters, statistics } = this.#weights
    const isTrained = (name: string) => Object.hasOwn(parameters, name) || Object.hasOwn(statistics, name)
    this.#sources ??= checksumSources(this.#model, this.programs.graphs, this.#options, isTrained)
    return this.#sources
  }

  /** Throws `runtime` unless all processes of the group have the same weights and the same position in training. */
  async checkReplicas(group: ProcessGroup): Promise<void> {
    const { step, progress } = this
    const arrays = Object.values(this.hostWeights.parameters)
    const position = Float64Array.of(step, progress.epoch, progress.batch)
    await checkEqual(group, `the weights of step ${step}`, [position, ...arrays])
  }

  /** Downloads the training state to the host, after the current step. */
  sync(): Promise<void> {
    return this.#queue.run(() => this.#downloadState())
  }

  async #downloadState(): Promise<void> {
    if (!this.#hostIsStale) return
    if (this.#loaded === this.#state) await this.#backend.download(this.#trainingState())
    this.#hostIsStale = false
  }

  /**
   * Takes one optimizer step on a batch, and adds its training metrics to the current interval.
   * @throws OnnxIreError `invalid-option` during another step of this run: two fits would change the same tensors
   */
  async trainBatch(batch: Batch, options: StepOptions): Promise<StepProgress> {
    if (this.#stepping)
      throw new OnnxIreError(
        'invalid-option',
        'fit: another fit of this trainer is in the middle of a step: await that fit first, or create one trainer for each',
      )
    this.#stepping = true
    this.#collected = undefined
    try {
      return await this.#queue.run(() => this.#trainBatch(batch, options))
    } finally {
      this.#stepping = false
    }
  }

  async #trainBatch(batch: Batch, options: StepOptions): Promise<StepProgress> {
    const { programs = this.programs } = options
    const { totalSteps, stepsPerEpoch, settings, curvatureBatch } = options
    const { optimizer, schedule = { kind: 'constant' }, clipNorm, clipValue, ema, curvatureShare = 1 } = this.#options
    const { statistics } = this.#weights
    const { step, progress } = this
    const { ire } = unwrap(optimizer)
    // A mask is computed from the curvature of all processes, so that it is the same in each.
    const isLocal = this.#local !== undefined && !(ire?.curvature === 'empirical' && refreshesAt(ire, step))
    const prepared = prepareFor(programs, batch)
    const parameterNames = this.#trainedAt(step, settings)
    const started = Date.now()
    let first: BatchResult<TensorMap> | undefined
    const gradients: TensorMap[] = []
    const before = options.measured ? await this.#copyState() : undefined
    await this.#load()
    this.#local?.beforeStep(this.#weights.parameters)
    const gradient: GradientFunction<TensorMap> = async (kind, parameters) => {
      const result = await programs.gradient({
        kind,
        ...(kind === 'curvature' && curvatureBatch ? prepareFor(programs, curvatureBatch) : prepared),
        share: kind === 'curvature' ? curvatureShare : 1,
        isLocal: isLocal && kind === 'loss',
        sumGradients: kind === 'loss' ? this.#lossSum(first !== undefined, options.measured) : undefined,
        parameters,
        statistics,
        // One random stream per step: a resumed run samples the same numbers as an uninterrupted one.
        random: this.random.stream(`${kind} ${step}`),
        ...(parameterNames ? { parameterNames } : {}),
      })
      gradients.push(result.gradients)
      if (kind === 'loss') first ??= result
      if (kind === 'curvature') return { gradients: result.gradients, batchSize: Math.max(1, result.count) }
      return this.#shard ? { ...result, gradients: this.#shard.selectOwn(result.gradients) } : result
    }
    const context: StepContext = {
      lrFactor: learningRateFactor(schedule, step, totalSteps ?? Infinity, stepsPerEpoch) * progress.lrFactor,
      settings,
      ...(clipNorm === undefined ? {} : { clipNorm }),
      ...(clipValue === undefined ? {} : { clipValue }),
    }
    let report: StepReport
    let tensors: StepProgress['tensors']
    try {
      report = await runStep(this.#backend, optimizer, step, gradient, context)
      this.#state.step = step + 1
      this.#hostIsStale = this.#options.runtime.device !== undefined
      if (before) tensors = await this.#measureTensors(before, gradients.at(-1)!, report.kappa)
    } catch (error) {
      throw blameBatch(error, prepared.batch, batch.indices)
    } finally {
      for (const set of gradients) this.#backend.release(set)
    }
    if (!isLocal) progress.interval.add(first!)
    // Examples that were loaded in place of missing ones are counted by the process that they belong to.
    this.#local?.afterStep(isLocal && batch.first < batch.whole ? first! : null)
    if (ema !== undefined) await this.#backend.updateAverages(ema)
    // Running statistics come from the loss gradient at the unperturbed parameters only.
    this.#weights.updateStatistics(first!.statistics)
    return {
      ...report,
      loss: first!.loss,
      epoch: progress.epoch,
      totalSteps,
      examples: batch.whole,
      seconds: (Date.now() - started) / 1000,
      ...(tensors ? { tensors } : {}),
    }
  }

  /** The function that adds up the loss gradients of a step over all processes; undefined for `allReduce`. */
  #lossSum(isSecond: boolean, isMeasured: boolean): SumGradients | undefined {
    if (this.#local) return undefined
    const compressed = this.#compressed[isSecond ? 1 : 0]
    if (compressed) return (gradients) => compressed.reduce(Object.values(gradients))
    // All gradients are measured.
    return this.#shard?.dividesGradients && !isMeasured ? this.#shard.sumOwn : undefined
  }

  /**
   * Ends a round of local steps if it has all its steps, and in any case before an evaluation and the end of training.
   * @param isEnd whether one of these follows
   */
  async endRound(isEnd: boolean): Promise<void> {
    const local = this.#local
    if (!local || this.isAveraged || !(isEnd || local.isComplete)) return
    await this.#queue.run(async () => {
      const { parameters, statistics, averages = {} } = this.#weights
      const others = [...Object.values(statistics), ...Object.values(averages)]
      const sums = await local.end({ parameters, optimizer: this.#state, others }, this.#compressed[0]?.reduce)
      this.progress.interval.add(sums)
    })
  }

  /** Copies what a measured step will change: the parameters, and the mask if the step refreshes it. */
  async #copyState(): Promise<StateCopy> {
    await this.#downloadState()
    const { ire } = unwrap(this.#options.optimizer)
    const { mask } = this.#state
    const isRefreshed = ire !== null && refreshesAt(ire, this.step)
    return {
      parameters: mapArrays(this.#weights.parameters, (array) => array.slice()),
      lastFlat: mask && isRefreshed ? mapArrays(mask.flat, (array) => array.slice()) : undefined,
    }
  }

  /** Measures the tensors of a step, whose last gradients are given. */
  async #measureTensors({ parameters, lastFlat }: StateCopy, gradients: TensorMap, kappa: number) {
    await this.#downloadState()
    const { device } = this.#options.runtime
    const trained = Object.entries(gradients).filter(([name]) => Object.hasOwn(parameters, name))
    const downloaded = trained.map(async ([name, gradient]) => {
      const array = device ? (await device.download(gradient as DeviceTensor)).data : gradient
      return [name, array as FloatArray] as const
    })
    return measureTensors({
      before: parameters,
      after: this.#weights.parameters,
      gradients: Object.fromEntries(await Promise.all(downloaded)),
      mask: this.#state.mask,
      lastFlat,
      kappa,
    })
  }

  /** Names of the parameters that are trained at a step; undefined for all. */
  #trainedAt(step: number, settings: ResolvedFitOptions['settings']): ReadonlySet<string> | undefined {
    if (!Object.values(settings).some(({ startStep = 0 }) => startStep > step)) return undefined
    return new Set(
      Object.keys(this.#weights.parameters).filter((name) => (getOwn(settings, name)?.startStep ?? 0) <= step),
    )
  }

  /**
   * Computes loss and metrics over a data set. Throws `Aborted` if the signal is aborted meanwhile.
   * @param options programs that the data are the inputs of
   */
  evaluate(
    data: DatasetOrStream,
    weights: WeightSelection,
    {
      programs = this.programs,
      signal,
    }: { readonly programs?: Programs<TensorMap>; readonly signal?: Signal | undefined } = {},
  ): Promise<Measures> {
    return this.#queue.run(async () => {
      const statistics = weights === 'last' ? this.#weights.statistics : this.#weights.get(weights)
      const isAverage = weights === 'last' && unwrap(this.#options.optimizer).base.evaluation !== undefined
      if (isAverage) await this.#downloadState()
      const uploaded =
        weights === 'best' || isAverage ? await this.#backend.upload(this.#weights.get(weights)) : undefined
      try {
        if (!uploaded) await this.#load()
        const parameters = uploaded ?? (weights === 'ema' ? this.#backend.averages! : this.#backend.parameters)
        const { batchSize = 32 } = this.#options
        return await evaluateBatches(programs, data, batchSize, { parameters, statistics }, { signal })
      } finally {
        if (uploaded) this.#backend.release(uploaded)
      }
    })
  }

  /** Replaces a lost device. Returns false if that is impossible; otherwise call `restore` before the next step. */
  async recover(): Promise<boolean> {
    for (const programs of this.#allPrograms()) programs.clear()
    this.#loaded = undefined
    return this.#backend.recover()
  }

  async dispose(): Promise<void> {
    for (const programs of this.#allPrograms()) await programs.release()
    this.#loaded = undefined
    await this.#backend.dispose()
  }

  /** Loads the state into the backend, unless the backend has it. */
  async #load(): Promise<void> {
    if (this.#loaded === this.#state) return
    this.programs.checkOpen()
    this.#loaded = undefined
    await this.#backend.load(this.#trainingState())
    this.#loaded = this.#state
  }

  #trainingState(): TrainingState {
    const { parameters, averages } = this.#weights
    return { parameters, optimizer: this.#state, ...(averages ? { averages } : {}) }
  }

  #allPrograms(): Programs<TensorMap>[] {
    return [this.programs, ...[...this.#stages.values()].flatMap((stage) => stage?.programs ?? [])]
  }

  #staleHostError(): OnnxIreError {
    return new OnnxIreError(
      'runtime',
      `the parameters of step ${this.step} are on the device: await trainer.sync() first; if the device is lost, create a new trainer and resume from a checkpoint`,
    )
  }
}

/** Converts a batch to the inputs of programs. */
const prepareFor = ({ graphs }: Programs<TensorMap>, { tensors, size, whole, first }: Batch) => ({
  batch: prepareBatch(tensors, graphs.data, graphs.loss.labels),
  ...{ size, whole, first },
})
