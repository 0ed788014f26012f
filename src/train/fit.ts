import type { TensorMap } from '../backend/backend.js'
import { type Batch, type BatchPart, batchCount, batches } from '../data/batches.js'
import type { Dataset } from '../data/dataset.js'
import { checkData, type DatasetOrStream } from '../data/stream.js'
import type { Measures } from '../metric/accumulator.js'
import { unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import { learningRateFactor } from '../optim/schedule.js'
import { checkArguments, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { Aborted, type Signal, untilAborted } from '../util/until-aborted.js'
import type { FeatureCache, FeatureStage } from './cached-features.js'
import { summarizeData } from './checkpoint/checksums.js'
import { CheckpointWriter } from './checkpoint/writer.js'
import {
  checkFitNames,
  type FitOptions,
  type IntervalMetrics,
  type ResolvedFitOptions,
  resolveTotalSteps,
  type StepProgress,
  type TrainerOptions,
} from './options.js'
import { barrier, checkEqual, decideByFirst, type ProcessGroup } from './process-group.js'
import type { Programs } from './programs.js'
import { type IntervalEnd, summarizeInterval } from './progress.js'
import type { Run } from './run.js'

/**
 * Resolves and checks the options of a `fit`, so that errors of later steps are thrown before the first one.
 * @throws OnnxIreError `invalid-option`, `invalid-data`
 */
export async function resolveFitOptions(
  data: DatasetOrStream,
  options: FitOptions,
  trainer: TrainerOptions,
  programs: Pick<Programs<TensorMap>, 'checkSizes' | 'part'>,
  settings: (stepsPerEpoch: number | undefined) => Readonly<Record<string, ParameterSettings>>,
): Promise<ResolvedFitOptions> {
  const { batchSize = 32, schedule = { kind: 'constant' }, best, earlyStopping } = trainer
  checkData('fit: the data', data)
  checkArguments('fit(data, { totalEpochs })', { options })
  checkFitNames(options)
  const { validation, totalEpochs } = options
  if (validation !== undefined) checkData('fit: validation', validation)
  const stepsPerEpoch = batchCount(data, { batchSize })
  const totalSteps = resolveTotalSteps(options, stepsPerEpoch)
  const { measureEvery } = options
  const isSharded = trainer.shardOptimizer && (trainer.processGroup?.size ?? 1) > 1
  if (measureEvery !== undefined && isSharded && unwrap(trainer.optimizer).ire)
    throw invalidOption(
      'fit',
      'measureEvery',
      measureEvery,
      'omitted with shardOptimizer and IRE: each process has the mask of some tensors only',
    )
  if ((best || earlyStopping || schedule.kind === 'plateau') && !validation)
    throw new OnnxIreError(
      'invalid-option',
      'fit: validation is required for the trainer options best, earlyStopping and a plateau schedule',
    )
  for (const set of validation ? [data, validation] : [data])
    if (set.length !== undefined) programs.checkSizes(set.length, batchSize)
  learningRateFactor(schedule, 2 ** 40, totalSteps ?? Infinity, stepsPerEpoch)
  const curvatureBatch = await readCurvatureBatch(data, trainer, programs.part, waitSignalOf(trainer, options))
  return { totalSteps, totalEpochs, stepsPerEpoch, settings: settings(stepsPerEpoch), curvatureBatch }
}

/** The signal that ends a wait for data. Processes of a group, and those with local steps, end after the same step. */
const waitSignalOf = ({ processGroup, localSteps }: TrainerOptions, { signal }: FitOptions): Signal | undefined =>
  processGroup || localSteps ? undefined : signal

/**
 * Reads the fixed curvature batch, if any; undefined if aborted meanwhile. It is the same in every run with the same
 * data, seed and batch size.
 */
async function readCurvatureBatch(
  data: DatasetOrStream,
  { optimizer, batchSize = 32, curvatureBatch, seed = 0 }: TrainerOptions,
  part: BatchPart | undefined,
  signal: Signal | undefined,
): Promise<Batch | undefined> {
  const { ire } = unwrap(optimizer)
  if (curvatureBatch !== 'fixed' || !ire || ire.curvature === 'empirical') return undefined
  const shuffle = new Random(seed).stream('curvature batch')
  for await (const batch of untilAborted(batches(data, { batchSize, shuffle, part }), signal)) return batch
  return undefined
}

/** Whether a run has reached the totals of a `fit`, or early stopping has ended it. */
export function hasReachedTotals(
  { step, progress }: Run,
  { totalSteps, totalEpochs }: { readonly totalSteps?: number | undefined; readonly totalEpochs?: number | undefined },
): boolean {
  if (progress.isStoppedEarly) return true
  return totalEpochs === undefined ? step >= totalSteps! : progress.epoch >= totalEpochs
}

/** A stage of training on cached features, with the features of the training data. */
interface CachedStage {
  readonly stage: FeatureStage
  readonly data: Dataset
  readonly options: { readonly programs: FeatureStage['programs']; readonly curvatureBatch: Batch | undefined }
}

/** Number of recoveries from lost devices that are tried without a step in between. */
const maxRecoveries = 3

/**
 * Steps between two comparisons of the weights of a group's processes, besides those at the ends of intervals and of
 * rounds of local steps.
 */
const compareEvery = 100

/** One call of `Trainer.fit`: steps, evaluation intervals, checkpoints, and recovery from lost devices. */
export class FitLoop {
  readonly #run: Run
  readonly #data: DatasetOrStream
  readonly #trainer: TrainerOptions
  readonly #options: FitOptions
  readonly #resolved: ResolvedFitOptions
  /** Defined if there are stages. */
  readonly #features: FeatureCache | undefined
  readonly #writer: CheckpointWriter | undefined
  /** The stage that trains on cached features, with its data; undefined for the whole model. */
  #cached: CachedStage | undefined
  /** Whether the processes collect an optimizer state that is divided among them whenever rank 0 saves it. */
  #collects = false
  /** Whether a callback has returned 'stop': of several processes, a callback of any before the last agreement. */
  #stopped = false
  /** Answers of `onStep` that wait for the end of a round of local steps, and the number of steps that wait. */
  #waiting = { stop: false, save: false, steps: 0 }
  /** Whether `signal` of any process of the group was aborted before the last agreement. */
  #aborted = false
  /** Number of steps of the current interval in this call, and the time of its start. */
  #intervalSteps = 0
  #intervalStart = Date.now()
  /** The checkpoint from which a run continues after a lost device. */
  #snapshot: Uint8Array | undefined
  #recoveries = { step: -1, count: 0 }

  constructor(
    run: Run,
    data: DatasetOrStream,
    trainer: TrainerOptions,
    options: FitOptions,
    resolved: ResolvedFitOptions,
    features: FeatureCache | undefined,
  ) {
    const { checkpoints, onCheckpoint } = options
    this.#run = run
    this.#data = data
    this.#trainer = trainer
    this.#options = options
    this.#resolved = resolved
    this.#features = features
    const isWriter = (trainer.processGroup?.rank ?? 0) === 0
    this.#writer =
      checkpoints && isWriter ? new CheckpointWriter(checkpoints, () => this.#takeSnapshot(), onCheckpoint) : undefined
  }

  /** Runs the loop, and yields the metrics of every interval. */
  async *run(): AsyncGenerator<IntervalMetrics, void, undefined> {
    let failed = false
    try {
      await this.#writer?.begin()
      await this.#agree()
      const { processGroup: group } = this.#trainer
      if (group) await this.#checkReplicas(group)
      if (group && this.#run.isSharded) this.#collects = await decideByFirst(group, this.#writer !== undefined)
      if (this.#canRecover) await this.#takeSnapshot()
      for (;;) {
        try {
          const { ended } = this.#run.progress
          // The run was interrupted after the last step of an interval, before its validation.
          if (ended && !this.#isAborted) yield await this.#endInterval(ended, true)
          if (this.#isOver) break
          yield* this.#runEpoch()
        } catch (error) {
          await this.#recover(error)
        }
      }
    } catch (error) {
      failed = true
      throw error
    } finally {
      // The caller has left the loop, or a step has failed. The state on a lost device cannot be downloaded.
      await this.#run.sync().catch(() => {})
      const ended = this.#writer?.end()
      // The error of the step is thrown, not that of a write after it.
      await (failed ? ended?.catch(() => {}) : ended)
    }
    // The last checkpoint is complete before any process of a group goes on.
    if (this.#trainer.processGroup) await barrier(this.#trainer.processGroup)
  }

  /** Throws `runtime` unless all processes have the same data, length of training and weights. */
  async #checkReplicas(group: ProcessGroup): Promise<void> {
    const { batchSize, seed } = this.#trainer
    const { totalEpochs, totalSteps, evaluateEvery, validation } = this.#options
    const data = [await summarizeData(this.#data), validation ? await summarizeData(validation) : null]
    const text = JSON.stringify({ data, batchSize, seed, totalEpochs, totalSteps, evaluateEvery })
    await checkEqual(group, 'the data, or batchSize, seed or length of training,', [text])
    await this.#run.checkReplicas(group)
  }

  /** Runs the remaining batches of the current epoch. */
  async *#runEpoch(): AsyncGenerator<IntervalMetrics, void, undefined> {
    const run = this.#run
    const { step } = run
    await this.#enterStage(step)
    if (this.#isAborted) return
    let end: IntervalEnd | undefined
    for await (const batch of this.#remainingBatches()) {
      if (run.stageAt(run.step, this.#resolved.settings) !== (this.#cached?.stage ?? null)) return
      const { measureEvery } = this.#options
      const measured = measureEvery !== undefined && run.step % measureEvery === 0
      const done = await run.trainBatch(batch, { ...this.#resolved, ...this.#cached?.options, measured })
      this.#intervalSteps++
      run.progress.afterBatch(batch)
      const { evaluateEvery } = this.#options
      const complete = evaluateEvery === undefined ? batch.last : run.step % evaluateEvery === 0
      const isEnd = complete || hasReachedTotals(run, this.#resolved)
      await run.endRound(isEnd)
      end = this.#summarizeInterval(done)
      if (isEnd) run.progress.ended = end
      await this.#afterStep(done, complete)
      if (!complete && !this.#isOver) continue
      // If aborted within an interval, yield training metrics now; the resumed run validates at its end.
      yield await this.#endInterval(end, run.progress.ended !== null && !this.#isAborted)
      if (this.#isOver) return
    }
    if (this.#isAborted) {
      // Aborted within an interval, while it waited for data.
      if (end && this.#intervalSteps > 0) yield await this.#endInterval(end, false)
      return
    }
    // No batches were left: the epoch was interrupted on data with more batches than this data.
    if (run.step === step) run.progress.nextEpoch()
  }

  #remainingBatches(): AsyncGenerator<Batch> {
    const { epoch, batch } = this.#run.progress
    const remaining = batches(this.#cached?.data ?? this.#data, {
      batchSize: this.#trainer.batchSize ?? 32,
      shuffle: this.#run.random.stream('order'),
      epoch,
      start: Math.min(batch, this.#resolved.stepsPerEpoch ?? Infinity),
      part: this.#run.programs.part,
    })
    return untilAborted(remaining, this.#waitSignal)
  }

  get #waitSignal(): Signal | undefined {
    return waitSignalOf(this.#trainer, this.#options)
  }

  /** Computes the features of the stage of a step, if it trains on cached features. */
  async #enterStage(step: number): Promise<void> {
    const stage = this.#run.stageAt(step, this.#resolved.settings)
    if (stage === (this.#cached?.stage ?? null)) return
    this.#cached = undefined
    if (!stage) return
    const data = await this.#computeFeatures(stage)
    if (!data) return
    const curvatureBatch = await readCurvatureBatch(data, this.#trainer, stage.programs.part, this.#waitSignal)
    this.#cached = { stage, data, options: { programs: stage.programs, curvatureBatch } }
  }

  /** Computes the features of the training data; returns null if aborted meanwhile. */
  async #computeFeatures(stage: FeatureStage): Promise<Dataset | null> {
    try {
      const { onFeatures } = this.#options
      return await this.#features!.trainingFeaturesOf(stage, this.#data, onFeatures, this.#waitSignal)
    } catch (error) {
      if (error instanceof Aborted) return null
      throw error
    }
  }

  /** Evaluates the validation data, in the stage of the last step; returns undefined if aborted meanwhile. */
  async #validate(data: DatasetOrStream): Promise<Measures | undefined> {
    const run = this.#run
    const signal = this.#waitSignal
    const stage = run.stageAt(Math.max(0, run.step - 1), this.#resolved.settings)
    try {
      if (!stage || !('batch' in data)) return await run.evaluate(data, run.validatedWeights, { signal })
      const features = await this.#features!.featuresOf(stage, data, this.#options.onFeatures, signal)
      return await run.evaluate(features, run.validatedWeights, { signal, programs: stage.programs })
    } catch (error) {
      if (error instanceof Aborted) return undefined
      throw error
    }
  }

  #summarizeInterval(last: StepProgress): IntervalEnd {
    const secondsPerStep = (Date.now() - this.#intervalStart) / 1000 / this.#intervalSteps
    return summarizeInterval(last, secondsPerStep, this.#trainer.optimizer)
  }

  /**
   * Calls `onStep`, and saves a checkpoint if one is due within an interval. Within a round of local steps processes
   * have different weights and do not wait for each other, so that everything but the call follows after the round.
   */
  async #afterStep(done: StepProgress, complete: boolean): Promise<void> {
    const answer = await this.#options.onStep?.(done)
    if (answer === 'save' && !this.#options.checkpoints)
      throw new OnnxIreError('invalid-option', "fit: onStep returned 'save', which needs the option checkpoints")
    const { stop, save, steps } = this.#waiting
    const waiting = { stop: stop || answer === 'stop', save: save || answer === 'save', steps: steps + 1 }
    const { isAveraged } = this.#run
    this.#waiting = isAveraged ? { stop: false, save: false, steps: 0 } : waiting
    if (!isAveraged) return
    this.#stopped = waiting.stop
    const { processGroup: group, localSteps } = this.#trainer
    // The checkpoint at the end of an interval is saved after its validation.
    const due = !complete && !this.#isOver && this.#writer?.isDue(this.#run.step, waiting) === true
    if (!complete && this.#collects && (await decideByFirst(group!, due))) await this.#run.collect()
    if (due) this.#stopped = (await this.#writer!.save(this.#run.step)) === 'stop'
    await this.#agree()
    if (group && (complete || localSteps || this.#run.step % compareEvery === 0)) await this.#run.checkReplicas(group)
  }

  /** Makes 'stop' and an aborted signal of one process those of all processes of the group. */
  async #agree(): Promise<void> {
    const { processGroup: group, localSteps } = this.#trainer
    if (!group && !localSteps) return
    const flags = Float64Array.of(Number(this.#stopped), Number(this.#options.signal?.aborted === true))
    await group?.allReduce([flags])
    this.#stopped = flags[0]! > 0
    this.#aborted = flags[1]! > 0
  }

  /**
   * Ends an interval. If complete: validates, then updates the plateau schedule, early stopping and the best weights.
   */
  async #endInterval(end: IntervalEnd, complete: boolean): Promise<IntervalMetrics> {
    const run = this.#run
    const { validation: data, onEvaluate } = this.#options
    if (this.#canRecover) await this.#takeSnapshot()
    await run.sync()
    const training = run.progress.interval.measures()
    const validation = data && complete ? await this.#validate(data) : undefined
    // A run that was aborted within its validation validates when it is resumed.
    if (complete && (validation || !data)) run.progress.startInterval()
    if (validation && run.progress.addValidation(validation, run.step)) run.hostWeights.saveBest()
    const { epoch, ...others } = end
    const metrics = { ...training, epoch, step: run.step, ...(validation ? { validation } : {}), ...others }
    if ((await onEvaluate?.(metrics)) === 'stop') this.#stopped = true
    if (this.#collects) await run.collect()
    if ((await this.#writer?.save(run.step)) === 'stop') this.#stopped = true
    await this.#agree()
    this.#intervalSteps = 0
    this.#intervalStart = Date.now()
    return metrics
  }

  /** Downloads the state and creates a checkpoint, from which the run continues after a lost device. */
  async #takeSnapshot(): Promise<Uint8Array> {
    await this.#run.sync()
    const snapshot = this.#run.checkpoint()
    if (this.#canRecover) this.#snapshot = snapshot
    return snapshot
  }

  /**
   * Replaces a lost device and restores the snapshot. Throws any other error, and after repeated losses at one step.
   */
  async #recover(error: unknown): Promise<void> {
    const run = this.#run
    const isLost = error instanceof OnnxIreError && error.code === 'device-lost'
    if (!isLost || !this.#snapshot) throw error
    const { step, count } = this.#recoveries
    this.#recoveries = { step: run.step, count: run.step > step ? 1 : count + 1 }
    if (this.#recoveries.count > maxRecoveries || !(await run.recover())) throw error
    run.restore(this.#snapshot)
    this.#stopped = (await this.#options.onDeviceLost?.(run.step)) === 'stop'
  }

  get #canRecover(): boolean {
    return this.#trainer.runtime.device?.recover !== undefined
  }

  get #isAborted(): boolean {
    const { processGroup: group, localSteps } = this.#trainer
    return group || localSteps ? this.#aborted : this.#options.signal?.aborted === true
  }

  get #isOver(): boolean {
    return this.#stopped || this.#isAborted || hasReachedTotals(this.#run, this.#resolved)
  }
}
