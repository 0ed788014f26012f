import type { StepReport } from '../backend/step.js'
import type { Batch } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import { checkLoss, type Loss } from '../loss/loss.js'
import type { Measures } from '../metric/accumulator.js'
import { checkOptimizer, type Optimizer, unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import { checkSchedule, type Schedule } from '../optim/schedule.js'
import { checkRuntime, type Runtime } from '../runtime/runtime.js'
import {
  belowOne,
  checkBoolean,
  checkNames,
  checkNumber,
  describeValue,
  invalidOption,
  nonNegative,
  positiveCount,
} from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { FeatureStore, OnFeatures } from './cached-features.js'
import type { CheckpointStore } from './checkpoint/store.js'
import type { TrainingOptions } from './graphs/build.js'
import { checkRecompute } from './graphs/recompute.js'
import { checkLocalSteps, type LocalStepsOptions, resolveLocalSteps } from './local-steps.js'
import { checkMonitor, type MonitorOptions } from './metric-monitor.js'
import type { StartOptions } from './model/start-model.js'
import { checkGroups, type GroupOptions } from './parameter-groups.js'
import type { ProcessGroup } from './process-group.js'
import type { TensorMeasures } from './tensor-measures.js'

/** Options of `Trainer.create`. */
export interface TrainerOptions
  extends Omit<TrainingOptions, 'curvature' | 'frozen' | 'provider'>,
    StartOptions,
    GroupOptions {
  /** Loss to minimize. */
  readonly loss: Loss
  /** Optimizer, with its learning rate. */
  readonly optimizer: Optimizer
  /** Runtime that runs the graphs: `node()` of 'onnx-ire/node', for example. */
  readonly runtime: Runtime
  /** Number of examples per step. Default 32. */
  readonly batchSize?: number
  /**
   * Largest number of examples that the runtime computes at once. Gradients of larger batches are accumulated, and are
   * the same as those of the whole batch, except that batch normalizations with `batchNorm: 'trained'` use the
   * statistics of a micro-batch. Default: the whole batch.
   */
  readonly microBatch?: number
  /**
   * The batch that IRE's curvature is estimated on: the batch of the step (default), or for 'fixed' one batch of the
   * training data, sampled and augmented once, which is the same over the whole run (as in the paper's runs on CIFAR).
   * Labels are sampled again at every refresh in both cases. Without effect on 'empirical' curvature.
   */
  readonly curvatureBatch?: 'step' | 'fixed'
  /**
   * The share of this batch that the curvature is estimated on, in (0, 1]: its first examples, at least one. A refresh
   * of IRE's mask takes time in proportion. Batch normalizations with `batchNorm: 'trained'` use the statistics of
   * these examples. Without effect on 'empirical' curvature. Default: 0.25 for 'sampled' curvature of the step's batch,
   * with `batchNorm: 'trained'` at least 8 examples; otherwise 1.
   */
  readonly curvatureShare?: number
  /** Learning-rate schedule. Default constant. */
  readonly schedule?: Schedule
  /** Largest global norm of the gradient. Default none. */
  readonly clipNorm?: number
  /** Largest magnitude of an element of the gradient; applied before `clipNorm`. Default none. */
  readonly clipValue?: number
  /**
   * Decay of an exponential moving average of the weights, such as 0.999, in [0, 1). Validation then evaluates the
   * average, and `export({ weights: 'ema' })` returns it. Default none.
   */
  readonly ema?: number
  /**
   * Stores the weights that are best on the validation data, for `export({ weights: 'best' })`. Default: not stored.
   */
  readonly best?: MonitorOptions
  /** Ends training after `patience` evaluations of the validation data without improvement. Default: never. */
  readonly earlyStopping?: MonitorOptions & { readonly patience: number }
  /**
   * 'cached': the frozen layers before the first trained one run once over the data, in inference mode, and their
   * results are stored in memory, or with `featureFiles(folder)` of 'onnx-ire/node' beyond some memory in temporary
   * files; training then runs the other layers only. The data must not be augmented. If frozen layers are trained from
   * some step on (see `freeze`), training continues with the whole model there. Trainers with the same frozen layers
   * that read the same data set object share the results in memory until the last of them is disposed. Default: the
   * whole model runs at every step.
   */
  readonly features?: 'cached' | FeatureStore
  /**
   * The processes that train the model together: `await mpi()` of 'onnx-ire/node'. Each computes the gradient of its
   * part of every batch, and all get the sum, so that the weights are those of one process with the same `batchSize`,
   * which counts the examples of all. Every process makes the same calls with the same options and data. See
   * docs/scale-out.md. Default: this process alone.
   */
  readonly processGroup?: ProcessGroup | undefined
  /**
   * Divides the optimizer's moments, and F and the mask of IRE, among the processes of `processGroup` (ZeRO, stage 1):
   * each stores those of some tensors, about as many elements as the others, updates these tensors, and gets the other
   * ones. The weights are the same, and checkpoints do not depend on it. A step sends as much, and half as much again
   * with SAM, `clipValue`, `gradientCompression` or empirical curvature. Default false.
   */
  readonly shardOptimizer?: boolean
  /**
   * Steps that each process takes on its own part of every batch between two averages of the weights, for slow links:
   * DiLoCo (arXiv 2311.08105). An evaluation interval and training end with an average too. Between averages no process
   * waits for another; 'stop' and 'save' of `onStep`, `signal` and checkpoints wait for the next one. See
   * docs/scale-out.md. Default: the gradients of all processes at every step.
   */
  readonly localSteps?: LocalStepsOptions
  /**
   * 'bfloat16': gradients, or with `localSteps` displacements of the weights, are sent between processes in 16 bits,
   * with error feedback: what rounding takes away is added at the next step. A resumed run begins without this error,
   * and so has other roundings. IRE's curvature is sent in 32 bits. Without effect in one process. Default: as float32.
   */
  readonly gradientCompression?: 'bfloat16'
  /** Seed of the data order and of all random numbers. The same seed gives the same run, bit for bit. Default 0. */
  readonly seed?: number
}

/** A callback of `Trainer.fit`, which is awaited. Training ends after the current step if it returns 'stop'. */
export type Callback<T> = (about: T) => unknown

/** Options of `Trainer.fit` and `Trainer.train`. Either `totalSteps` or `totalEpochs` is required. */
export interface FitOptions {
  /**
   * Number of passes over the data, counted from the beginning of training: a second `fit` or a resumed run continues
   * up to this total.
   */
  readonly totalEpochs?: number
  /** Number of optimizer steps, counted from the beginning of training as for `totalEpochs`. */
  readonly totalSteps?: number
  /** Validation data, evaluated at the end of every evaluation interval. */
  readonly validation?: DatasetOrStream
  /**
   * Steps per evaluation interval. Each interval ends with its training metrics and a validation. Default: an epoch.
   */
  readonly evaluateEvery?: number
  /**
   * Store for checkpoints, which are saved at the end of every interval and of training, and in addition as often as
   * set here.
   */
  readonly checkpoints?: {
    /** Store of the checkpoints, from `checkpointFolder(path)` for instance. */
    readonly store: CheckpointStore
    /** Number of steps between checkpoints. */
    readonly everySteps?: number
    /** Seconds of wall-clock time between checkpoints. */
    readonly everySeconds?: number
  }
  /**
   * Called after every step, to show progress. If it returns 'save', a checkpoint is saved in addition to those of
   * `checkpoints`: when the page is hidden or the process is about to end, for example.
   */
  readonly onStep?: Callback<StepProgress>
  /**
   * Called after every batch of the pass that computes cached features, before the first step and before the first
   * evaluation: once per data set. Not called for features that another trainer computes.
   */
  readonly onFeatures?: OnFeatures
  /** Called with the metrics of every interval, before `fit` yields them and before the checkpoint is written. */
  readonly onEvaluate?: Callback<IntervalMetrics>
  /** Called with the step of a checkpoint after it is written. */
  readonly onCheckpoint?: Callback<number>
  /**
   * Called after a device was lost and replaced, with the step at which the run continues: that of the last checkpoint
   * or end of an interval. The steps after it are repeated, with the same results.
   */
  readonly onDeviceLost?: Callback<number>
  /**
   * Steps between two measurements of all trained tensors, from step 0 on: `tensors` of `StepProgress`. IRE's mask is
   * compared with the last one in steps that refresh it, so choose a multiple of its interval. A measured step copies
   * the trained parameters, and downloads the training state and the gradients from a device. Default: none.
   */
  readonly measureEvery?: number
  /**
   * Ends training after the current step, without an error, once it is aborted: on Ctrl-C, for example. A validation
   * ends after the current batch, and the last metrics are without it; a resumed run repeats it. An AbortSignal also
   * ends the wait for data that do not arrive. In several processes a validation and such a wait do not end.
   */
  readonly signal?: { readonly aborted: boolean }
}

/** The options of one `fit`, resolved for its data. */
export interface ResolvedFitOptions {
  /** Total number of steps; undefined for epochs over data of unknown length. */
  readonly totalSteps: number | undefined
  readonly totalEpochs: number | undefined
  /** Number of batches of an epoch; undefined for data of unknown length. */
  readonly stepsPerEpoch: number | undefined
  readonly settings: Readonly<Record<string, ParameterSettings>>
  /** The fixed batch that the curvature is estimated on; undefined for the batch of the step. */
  readonly curvatureBatch: Batch | undefined
}

/** The result of one training step, for progress displays. */
export interface StepProgress extends StepReport {
  readonly loss: number
  /** Index of the epoch, from 0. */
  readonly epoch: number
  /** Total number of steps when `fit` ends; undefined for epochs over a stream of unknown length. */
  readonly totalSteps: number | undefined
  /** Number of examples in the batch. */
  readonly examples: number
  /** Wall-clock time of this step. */
  readonly seconds: number
  /** Measures of the tensors that the step trained, by name, in steps that `measureEvery` selects. */
  readonly tensors?: Readonly<Record<string, TensorMeasures>>
}

/**
 * Metrics of an evaluation interval: an epoch, or `evaluateEvery` steps. Training metrics are means over the steps of
 * the interval, each computed before the update of the step.
 */
export interface IntervalMetrics extends Pick<Measures, 'loss' | 'accuracy' | 'count' | 'tooLong'> {
  /** Index of the epoch in which the interval ended, from 0. */
  readonly epoch: number
  /** Number of steps since the beginning of training. */
  readonly step: number
  /** Loss and metrics of the validation data, if any. */
  readonly validation?: Measures
  /** Learning rate of the last step. */
  readonly lr: number
  /** Global norm of the last step's gradient, before clipping. */
  readonly gradientNorm: number
  /** Share of coordinates that IRE treats as flat; absent without IRE. */
  readonly flatShare?: number
  readonly secondsPerStep: number
}

/** Names of all options: unknown names are rejected. */
const trainerOptions: Readonly<Record<keyof TrainerOptions, true>> = {
  ...{
    loss: true,
    optimizer: true,
    runtime: true,
    freeBatch: true,
    untie: true,
    tie: true,
    head: true,
    adapter: true,
    trainable: true,
  },
  ...{
    metrics: true,
    seed: true,
    processGroup: true,
    shardOptimizer: true,
    localSteps: true,
    gradientCompression: true,
  },
  ...{
    batchNorm: true,
    dropout: true,
    passes: true,
    pooling: true,
    recompute: true,
    batchSize: true,
    microBatch: true,
    schedule: true,
    clipNorm: true,
  },
  ...{ features: true, clipValue: true, ema: true, best: true, earlyStopping: true },
  ...{ curvatureBatch: true, curvatureShare: true, groups: true, freeze: true, decayVectors: true, layerDecay: true },
}
const fitOptions: Readonly<Record<keyof FitOptions, true>> = {
  ...{ totalEpochs: true, totalSteps: true, validation: true, evaluateEvery: true, checkpoints: true },
  ...{ onFeatures: true, onStep: true, onEvaluate: true, onCheckpoint: true, onDeviceLost: true },
  ...{ measureEvery: true, signal: true },
}

/** The values of options that have few. */
const choices: Readonly<Record<string, readonly unknown[]>> = {
  batchNorm: ['frozen', 'trained'],
  dropout: ['off', 'on'],
  curvatureBatch: ['step', 'fixed'],
  freeBatch: [true, false],
  shardOptimizer: [true, false],
  tie: [true, false],
} satisfies { readonly [Name in keyof TrainerOptions]?: readonly Exclude<TrainerOptions[Name], undefined>[] }

/** Checks trainer options. Throws `invalid-option` for an option that is unknown, missing or out of range. */
export function checkTrainerOptions(options: TrainerOptions): void {
  checkNames('Trainer', options, Object.keys(trainerOptions))
  checkLoss('Trainer', options.loss)
  checkOptimizer('Trainer', options.optimizer)
  checkRuntime('Trainer', options.runtime)
  for (const [name, allowed] of Object.entries(choices)) {
    const value: unknown = options[name as keyof TrainerOptions]
    if (value !== undefined && !allowed.includes(value))
      throw invalidOption('Trainer', name, value, allowed.map(describeValue).join(' or '))
  }
  checkProcesses(options)
  checkLayers(options)
  checkSteps(options)
  checkAveraging(options)
  checkGroups(options, options.optimizer)
}

/** Checks the options about several processes. */
function checkProcesses(options: TrainerOptions): void {
  const { processGroup, localSteps, shardOptimizer, gradientCompression, optimizer, runtime } = options
  if (processGroup !== undefined && typeof processGroup?.allReduce !== 'function')
    throw invalidOption('Trainer', 'processGroup', processGroup, "await mpi() of 'onnx-ire/node', or omitted")
  if (gradientCompression !== undefined && gradientCompression !== 'bfloat16')
    throw invalidOption('Trainer', 'gradientCompression', gradientCompression, "'bfloat16' or omitted")
  if (localSteps !== undefined) {
    checkLocalSteps(localSteps)
    if (shardOptimizer)
      throw invalidOption(
        'Trainer',
        'shardOptimizer',
        true,
        'omitted with localSteps, in which each process updates all tensors',
      )
    const { base } = unwrap(optimizer)
    const { steps, outerLr, outerMomentum } = resolveLocalSteps(localSteps)
    // Such a base has the displacement from the initial weights by its own steps in its state.
    if (base.estimate && (outerLr !== 1 || outerMomentum !== 0))
      throw invalidOption(
        'Trainer',
        'localSteps',
        localSteps,
        `{ steps: ${steps}, outerLr: 1, outerMomentum: 0 } with ${base.name}, which sums up its own displacements`,
      )
  }
  if ((processGroup || localSteps) && runtime.device)
    throw invalidOption(
      'Trainer',
      processGroup ? 'processGroup' : 'localSteps',
      processGroup ?? localSteps,
      `omitted with ${runtime.description}: processes train together on the CPU`,
    )
}

/** Checks the options about the layers that are trained, and how they are computed. */
function checkLayers({ features, untie, recompute }: TrainerOptions): void {
  if (features !== undefined && features !== 'cached' && typeof features?.create !== 'function')
    throw invalidOption(
      'Trainer',
      'features',
      features,
      "'cached', featureFiles(folder) of 'onnx-ire/node', or omitted",
    )
  if (!(['undefined', 'boolean'].includes(typeof untie) || typeof untie === 'string' || Array.isArray(untie)))
    throw invalidOption('Trainer', 'untie', untie, 'true, false, or patterns of the names of shared tensors')
  if (recompute !== undefined) checkRecompute('Trainer', recompute)
}

/** Checks the options about batches, learning rates and gradients. */
function checkSteps(options: TrainerOptions): void {
  const { batchSize = 32, microBatch, curvatureShare = 1, decayVectors } = options
  checkNumber('Trainer', 'batchSize', batchSize, positiveCount)
  if (microBatch !== undefined) checkNumber('Trainer', 'microBatch', microBatch, positiveCount)
  if (!(curvatureShare > 0 && curvatureShare <= 1))
    throw invalidOption('Trainer', 'curvatureShare', curvatureShare, 'a number in (0, 1]')
  checkSchedule(options.schedule ?? { kind: 'constant' })
  for (const name of ['clipNorm', 'clipValue'] as const) {
    const value = options[name]
    if (value !== undefined && !(typeof value === 'number' && value > 0))
      throw invalidOption('Trainer', name, value, 'a number > 0')
  }
  if (decayVectors !== undefined) checkBoolean('Trainer', 'decayVectors', decayVectors)
}

/** Checks the options about averaged weights, and about the choice of the best ones. */
function checkAveraging({ optimizer, schedule, ema, best, earlyStopping }: TrainerOptions): void {
  const { base } = unwrap(optimizer)
  if (base.evaluation) {
    const reason = `omitted, because '${base.name}' evaluates an average of the weights that replaces it`
    if (ema !== undefined) throw invalidOption('Trainer', 'ema', ema, reason)
    if (schedule)
      throw invalidOption('Trainer', 'schedule', schedule.kind, `${reason}; its warm-up is an option of its own`)
  }
  if (ema !== undefined) checkNumber('Trainer', 'ema', ema, belowOne)
  if (best) checkMonitor('best', best)
  if (earlyStopping) {
    checkMonitor('earlyStopping', earlyStopping, ['patience'])
    checkNumber('earlyStopping', 'patience', earlyStopping.patience, positiveCount)
  }
}

/**
 * Smallest number of examples whose statistics batch normalizations with `batchNorm: 'trained'` use where IRE's
 * curvature is estimated on a share of the batch.
 */
const minNormExamples = 8

/**
 * The share of the batch that IRE's curvature is estimated on: `curvatureShare` or its default.
 * @param trainsNorms whether batch normalizations use the statistics of these examples (`batchNorm: 'trained'`)
 */
export function curvatureShareOf(
  {
    optimizer,
    curvatureShare,
    curvatureBatch,
    batchSize = 32,
  }: Pick<TrainerOptions, 'optimizer' | 'curvatureShare' | 'curvatureBatch' | 'batchSize'>,
  trainsNorms: boolean,
): number {
  if (curvatureShare !== undefined) return curvatureShare
  if (unwrap(optimizer).ire?.curvature !== 'sampled' || curvatureBatch === 'fixed') return 1
  return trainsNorms ? Math.min(1, Math.max(0.25, minNormExamples / batchSize)) : 0.25
}

/** Throws `invalid-option` for names of options that `fit` does not have. */
export const checkFitNames = (options: FitOptions): void => checkNames('fit', options, Object.keys(fitOptions))

/** Throws `invalid-option` for an option 'store' that is no store of checkpoints. */
export function checkStore(owner: string, store: CheckpointStore | undefined): void {
  if (typeof store?.save !== 'function')
    throw invalidOption(owner, 'store', store, "a store such as checkpointFolder(path) of 'onnx-ire/node'")
}

/**
 * Checks the values of fit options, and returns the total number of steps; undefined for epochs over data of unknown
 * length.
 * @throws OnnxIreError `invalid-option` for an option that is missing or out of range
 */
export function resolveTotalSteps(options: FitOptions, stepsPerEpoch: number | undefined): number | undefined {
  if (options.checkpoints) {
    checkNames('fit: checkpoints', options.checkpoints, ['store', 'everySteps', 'everySeconds'])
    checkStore('fit: checkpoints', options.checkpoints.store)
  }
  for (const name of ['onFeatures', 'onStep', 'onEvaluate', 'onCheckpoint', 'onDeviceLost'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'function')
      throw invalidOption('fit', name, options[name], 'a function')
  const { totalEpochs, totalSteps, evaluateEvery, measureEvery } = options
  const { everySteps, everySeconds } = options.checkpoints ?? {}
  if ((totalEpochs === undefined) === (totalSteps === undefined))
    throw new OnnxIreError('invalid-option', 'fit: set either totalEpochs or totalSteps')
  if (evaluateEvery !== undefined) checkNumber('fit', 'evaluateEvery', evaluateEvery, positiveCount)
  if (measureEvery !== undefined) checkNumber('fit', 'measureEvery', measureEvery, positiveCount)
  if (everySteps !== undefined) checkNumber('fit', 'checkpoints.everySteps', everySteps, positiveCount)
  if (everySeconds !== undefined) checkNumber('fit', 'checkpoints.everySeconds', everySeconds, nonNegative)
  if (totalSteps !== undefined) return checkNumber('fit', 'totalSteps', totalSteps, positiveCount)
  checkNumber('fit', 'totalEpochs', totalEpochs!, positiveCount)
  return stepsPerEpoch === undefined ? undefined : totalEpochs! * stepsPerEpoch
}
