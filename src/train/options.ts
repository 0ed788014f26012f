import type { StepReport } from '../backend/step.js'
import type { DatasetOrStream } from '../data/stream.js'
import type { Loss } from '../loss/loss.js'
import type { Measures } from '../metric/accumulator.js'
import type { Optimizer } from '../optim/optimizer.js'
import { checkSchedule, type Schedule } from '../optim/schedule.js'
import type { Runtime } from '../runtime/runtime.js'
import { belowOne, checkNames, checkNumber, invalidOption, nonNegative, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { CheckpointStore } from './checkpoint/store.js'
import type { TrainingOptions } from './graphs/build.js'
import { checkMonitor, type MonitorOptions } from './metric-monitor.js'
import type { HeadOptions } from './model/replace-head.js'
import { checkGroups, type GroupOptions } from './parameter-groups.js'

/** Options of `Trainer.create`. */
export interface TrainerOptions extends Omit<TrainingOptions, 'curvature' | 'frozen'>, GroupOptions {
  readonly loss: Loss
  readonly optimizer: Optimizer
  /** Where it runs: `node()` from 'onnx-ire/node'. */
  readonly runtime: Runtime
  /** Resizes the model's last layer before training; see `replaceHead`. */
  readonly head?: HeadOptions
  /** Examples per step. Default 32. */
  readonly batchSize?: number
  /**
   * The most examples the runtime computes at once. Gradients of a larger batch are accumulated, to what the whole batch
   * gives; norms trained by the batch see these many. Default: the whole batch.
   */
  readonly microBatch?: number
  /**
   * What IRE's curvature is estimated on: the batch of the step (default), or for 'fixed' one batch of the training data,
   * drawn and augmented once, which is the same over the whole run (as in the paper's runs on CIFAR). Labels are sampled
   * anew at every refresh either way. Without effect on 'empirical' curvature.
   */
  readonly curvatureBatch?: 'step' | 'fixed'
  /** How the learning rate moves over the run. Default constant. */
  readonly schedule?: Schedule
  /** Largest global norm of the gradient. Default none. */
  readonly clipNorm?: number
  /** Largest magnitude of an element of the gradient; applied before `clipNorm`. Default none. */
  readonly clipValue?: number
  /**
   * Decay of an exponential moving average of the weights, such as 0.999, in [0, 1): validation then measures the average,
   * and `export({ weights: 'ema' })` gives it. Default none.
   */
  readonly ema?: number
  /** Keeps the weights that are best on the validation data, for `export({ weights: 'best' })`. Default: not kept. */
  readonly best?: MonitorOptions
  /** Ends training when the validation data have not been better for `patience` evaluations. Default: never. */
  readonly earlyStopping?: MonitorOptions & { readonly patience: number }
  /** Decides the order of the data and all that is drawn. The same seed gives the same run, bit for bit. Default 0. */
  readonly seed?: number
}

/** Called back while training goes on; waited for. Training ends after this step if it answers 'stop'. */
export type Callback<T> = (about: T) => unknown

/** Options of `Trainer.fit`: how long, and what happens on the way. */
export interface FitOptions {
  /**
   * Passes over the data in all, counted from the beginning of training also after a resume and in a second `fit`. Give
   * either this or `steps`.
   */
  readonly epochs?: number
  /** Optimizer steps in all, counted as `epochs` are. */
  readonly steps?: number
  /** Data that is only evaluated, at the end of every round. */
  readonly validation?: DatasetOrStream
  /** Steps per round: metrics are given and validation data evaluated after each. Default: a round is an epoch. */
  readonly evaluateEvery?: number
  /** Where to save checkpoints and how often beside the end of every round and of training. */
  readonly checkpoints?: {
    readonly store: CheckpointStore
    readonly everySteps?: number
    /** Seconds of wall-clock time. */
    readonly everySeconds?: number
  }
  /**
   * Called after every step: for progress. A checkpoint is saved where it answers 'save', beside those that `checkpoints` asks
   * for, as when the page is hidden or the process is told to end.
   */
  readonly onStep?: Callback<StepProgress>
  /** Called with the metrics of every round, before they are yielded and before the checkpoint is written. */
  readonly onEvaluate?: Callback<IntervalMetrics>
  /** Called with the step of a checkpoint that is in the store. */
  readonly onCheckpoint?: Callback<number>
  /**
   * Called when a device was lost and the run begins again on a new one, with the step that it goes on from: that of the
   * last checkpoint or end of a round. The steps after it are taken again, and are the same.
   */
  readonly onDeviceLost?: Callback<number>
  /** Stop after the step in progress once it is aborted, as Ctrl-C does; `fit` then ends without error. */
  readonly signal?: { readonly aborted: boolean }
}

export interface StepProgress extends StepReport {
  readonly loss: number
  /** Counted from 0. */
  readonly epoch: number
  /** Steps in all when `fit` ends; undefined where only the end of a stream will tell. */
  readonly steps: number | undefined
  /** Examples of this step's batch. */
  readonly examples: number
  /** Wall-clock time of this step. */
  readonly seconds: number
}

/**
 * What a round (an epoch, or `evaluateEvery` steps) came to. Training measures are means over its steps, taken before each
 * step's update.
 */
export interface IntervalMetrics extends Pick<Measures, 'loss' | 'accuracy' | 'count'> {
  /** The epoch it ended in, counted from 0. */
  readonly epoch: number
  /** Steps done since the beginning. */
  readonly step: number
  readonly validation?: Measures
  /** Learning rate of the last step. */
  readonly lr: number
  /** Global norm of the last step's gradient, before clipping. */
  readonly gradientNorm: number
  /** Share of coordinates that IRE treats as flat; absent without IRE. */
  readonly flatShare?: number
  readonly secondsPerStep: number
}

/** All options by name: a misspelt one would be ignored without a word. */
const trainerOptions: Readonly<Record<keyof TrainerOptions, true>> = {
  ...{ loss: true, optimizer: true, runtime: true, head: true, trainable: true, metrics: true, seed: true },
  ...{ batchNorm: true, dropout: true, batchSize: true, microBatch: true, schedule: true, clipNorm: true },
  ...{ clipValue: true, ema: true, best: true, earlyStopping: true },
  ...{ curvatureBatch: true, groups: true, decayVectors: true, layerDecay: true },
}
const fitOptions: Readonly<Record<keyof FitOptions, true>> = {
  ...{ epochs: true, steps: true, validation: true, evaluateEvery: true, checkpoints: true },
  ...{ onStep: true, onEvaluate: true, onCheckpoint: true, onDeviceLost: true, signal: true },
}

/** Refuses options that are misspelt, missing or out of range. Throws `invalid-option`. */
export function checkTrainerOptions(options: TrainerOptions): void {
  checkNames('Trainer', options, Object.keys(trainerOptions))
  const { loss, optimizer, runtime, batchNorm = 'frozen', dropout = 'off', curvatureBatch = 'step' } = options
  if (typeof loss?.build !== 'function') throw invalidOption('Trainer', 'loss', loss, 'a loss such as crossEntropy()')
  if (!['base', 'sam', 'ire'].includes(optimizer?.kind))
    throw invalidOption('Trainer', 'optimizer', optimizer, 'an optimizer such as adamw(), or ire(adamw(), ...)')
  if (typeof runtime?.compile !== 'function')
    throw invalidOption('Trainer', 'runtime', runtime, "a runtime: node() of 'onnx-ire/node'")
  if (batchNorm !== 'frozen' && batchNorm !== 'trained')
    throw invalidOption('Trainer', 'batchNorm', batchNorm, "'frozen' or 'trained'")
  if (curvatureBatch !== 'step' && curvatureBatch !== 'fixed')
    throw invalidOption('Trainer', 'curvatureBatch', curvatureBatch, "'step' or 'fixed'")
  if (dropout !== 'off' && dropout !== 'on') throw invalidOption('Trainer', 'dropout', dropout, "'off' or 'on'")
  const { batchSize = 32, microBatch, clipNorm, clipValue, ema, best, earlyStopping } = options
  checkNumber('Trainer', 'batchSize', batchSize, positiveCount)
  if (microBatch !== undefined) checkNumber('Trainer', 'microBatch', microBatch, positiveCount)
  checkSchedule(options.schedule ?? { kind: 'constant' })
  for (const [name, value] of [
    ['clipNorm', clipNorm],
    ['clipValue', clipValue],
  ] as const)
    if (value !== undefined && !(value > 0)) throw invalidOption('Trainer', name, value, 'a number > 0')
  if (ema !== undefined) checkNumber('Trainer', 'ema', ema, belowOne)
  if (best) checkMonitor('best', best)
  if (earlyStopping) {
    checkMonitor('earlyStopping', earlyStopping, ['patience'])
    checkNumber('earlyStopping', 'patience', earlyStopping.patience, positiveCount)
  }
  checkGroups(options, options.optimizer)
}

/** The steps after which `fit` ends; undefined for epochs over data of unknown length. Throws `invalid-option`. */
export function resolveSteps(options: FitOptions, perEpoch: number | undefined): number | undefined {
  checkNames('fit', options, Object.keys(fitOptions))
  if (options.checkpoints) {
    checkNames('fit: checkpoints', options.checkpoints, ['store', 'everySteps', 'everySeconds'])
    const { store } = options.checkpoints
    if (typeof store?.save !== 'function')
      throw invalidOption(
        'fit: checkpoints',
        'store',
        store,
        "a store such as checkpointFolder(path) of 'onnx-ire/node'",
      )
  }
  const { epochs, steps, evaluateEvery, checkpoints: { everySteps, everySeconds } = {} } = options
  if ((epochs === undefined) === (steps === undefined))
    throw new OnnxIreError('invalid-option', 'fit: give either epochs or steps')
  if (evaluateEvery !== undefined) checkNumber('fit', 'evaluateEvery', evaluateEvery, positiveCount)
  if (everySteps !== undefined) checkNumber('fit', 'checkpoints.everySteps', everySteps, positiveCount)
  if (everySeconds !== undefined) checkNumber('fit', 'checkpoints.everySeconds', everySeconds, nonNegative)
  if (steps !== undefined) return checkNumber('fit', 'steps', steps, positiveCount)
  checkNumber('fit', 'epochs', epochs!, positiveCount)
  return perEpoch === undefined ? undefined : epochs! * perEpoch
}
