import type { Schedule } from '../optim/schedule.js'
import type { WhichWeights } from '../train/checkpoint/model-from-checkpoint.js'
import type { MonitorOptions } from '../train/metric-monitor.js'
import type { HeadOptions } from '../train/model/replace-head.js'
import type { Trainable } from '../train/model/trainable.js'
import type { GroupOptions } from '../train/parameter-groups.js'
import type { NamePatterns } from '../util/pattern.js'
import type { LossRecipe } from './loss.js'
import type { MetricRecipe } from './metric.js'
import type { ModelRecipe } from './model.js'
import type { OptimizerRecipe } from './optimizer.js'
import type { DataSource } from './sources/source.js'

export type { LossRecipe } from './loss.js'
export type { MetricRecipe } from './metric.js'
export type { ModelRecipe } from './model.js'
export type { OptimizerRecipe } from './optimizer.js'
export type { DataSource } from './sources/source.js'

/**
 * A training run as data. Paths are relative to the file it stands in; what is left out has the library's default. Fields
 * that are options of `Trainer` or `fit` mean what these say.
 */
export interface Recipe extends GroupOptions {
  readonly $schema?: string
  /** What the run is, for people. */
  readonly about?: string
  /** The ONNX model to start from, or the preset to make one of. */
  readonly model: ModelRecipe
  /** The run folder. Default: `runs/<name of the recipe>` beside the recipe. */
  readonly output?: string
  readonly data: DataRecipe
  /** Mixes the examples of training batches, and their labels as probabilities. For cross-entropy and KL. */
  readonly mixup?: MixupRecipe
  readonly loss: LossRecipe
  /** What is measured on validation data. Default: accuracy where the loss is about classes. */
  readonly metrics?: readonly MetricRecipe[]
  readonly head?: HeadOptions
  readonly trainable?: Trainable
  readonly batchNorm?: 'frozen' | 'trained'
  /** Whether training drops what the model's Dropout nodes say. */
  readonly dropout?: 'off' | 'on'
  readonly optimizer: OptimizerRecipe
  readonly schedule?: Schedule
  readonly clipNorm?: number
  readonly clipValue?: number
  readonly batchSize?: number
  readonly microBatch?: number
  /** What IRE's curvature is estimated on: the batch of the step (default), or one for the whole run. */
  readonly curvatureBatch?: 'step' | 'fixed'
  readonly ema?: number
  /** Keeps the weights that are best on the validation data; `true`: by their loss. */
  readonly best?: boolean | MonitorOptions
  readonly earlyStopping?: MonitorOptions & { readonly patience: number }
  /** Which weights the run gives in the end. Default: the best where they are kept, else their average, else the last. */
  readonly weights?: WhichWeights
  /** Either passes over the training data or, in `steps`, optimizer steps in all. */
  readonly epochs?: number
  readonly steps?: number
  /** Steps between two evaluations. Default: one after every epoch. */
  readonly evaluateEvery?: number
  readonly checkpoints?: CheckpointsRecipe
  readonly seed?: number
  /** Threads one operator may use. Default: all cores. */
  readonly threads?: number
}

export interface DataRecipe {
  readonly train: DataSource
  /** Data that are only evaluated: a source of their own... */
  readonly validation?: DataSource
  /** ...or a share of the training data, drawn at random. The seed is 0 unless given. */
  readonly split?: { readonly validation: number; readonly seed?: number }
  /** Repeats examples of rarer classes until every class has as many. Default false. */
  readonly balance?: boolean
}

export interface MixupRecipe {
  readonly alpha: number
  /** Default: as many as the model tells apart. */
  readonly classes?: number
  /** The tensors to mix. Default: the model's floating-point inputs. */
  readonly inputs?: NamePatterns
}

/** When checkpoints are saved beside the end of every epoch (or of `evaluateEvery` steps), and how many are kept. */
export interface CheckpointsRecipe {
  readonly everySteps?: number
  /** Seconds. Default 60, unless `everySteps` is given. */
  readonly everySeconds?: number
  /** Default 3. */
  readonly keep?: number
}

/** What evaluating a model takes of a recipe. */
export type EvaluationRecipe = Pick<Recipe, 'loss' | 'metrics' | 'batchSize' | 'threads'> & {
  readonly data: DataSource
}
