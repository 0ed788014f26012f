import type { AdapterOptions } from '../adapter/create-adapter.js'
import type { Schedule } from '../optim/schedule.js'
import type { WeightSelection } from '../train/checkpoint/model-from-checkpoint.js'
import type { Recompute } from '../train/graphs/recompute.js'
import type { LocalStepsOptions } from '../train/local-steps.js'
import type { MonitorOptions } from '../train/metric-monitor.js'
import type { PassOptions } from '../train/model/repeat-model.js'
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
 * Training run as data. Paths are relative to the recipe file; omitted fields have the library's defaults. Fields that
 * are options of `Trainer` or `fit` have the same meaning.
 */
export interface Recipe extends GroupOptions, PassOptions {
  readonly $schema?: string
  /** Description of the run. */
  readonly about?: string
  /** ONNX model to start from, or preset to create it from. */
  readonly model: ModelRecipe
  /** Path of the run folder. Default: `runs/<name of the recipe>` next to the recipe. */
  readonly output?: string
  readonly data: DataRecipe
  /** Mixup of the examples of training batches; for cross-entropy and KL. */
  readonly mixup?: MixupRecipe
  readonly loss: LossRecipe
  /** Model that is imitated beside the labels of a cross-entropy; see `distillation`. */
  readonly teacher?: TeacherRecipe
  /** Metrics measured on the validation data. Default: accuracy, if the loss compares classes. */
  readonly metrics?: readonly MetricRecipe[]
  /** Lets a model whose file fixes the number of examples take any number. */
  readonly freeBatch?: boolean
  /** Gives layers that share a tensor tensors of their own. */
  readonly untie?: boolean | NamePatterns
  /** Makes one tensor of an embedding and its copy in a last layer. */
  readonly tie?: boolean
  readonly head?: HeadRecipe
  /** Adapter that is added to the model; see `lora`, and `ia3` for `kind: 'ia3'`. */
  readonly adapter?: AdapterOptions
  readonly trainable?: Trainable
  readonly batchNorm?: 'frozen' | 'trained'
  /** Whether the model's Dropout nodes are active in training. */
  readonly dropout?: 'off' | 'on'
  readonly optimizer: OptimizerRecipe
  readonly schedule?: Schedule
  readonly clipNorm?: number
  readonly clipValue?: number
  readonly batchSize?: number
  readonly microBatch?: number
  /** Activations that the backward pass computes again instead of storing them. */
  readonly recompute?: Recompute
  /** Batch that IRE's curvature is estimated on: the batch of the step (default), or one batch for the whole run. */
  readonly curvatureBatch?: 'step' | 'fixed'
  /** Share of this batch that the curvature is estimated on. */
  readonly curvatureShare?: number
  /** 'cached': the frozen layers before the first trained one run once over the data. */
  readonly features?: 'cached'
  readonly localSteps?: LocalStepsOptions
  readonly gradientCompression?: 'bfloat16'
  readonly ema?: number
  /** Stores the weights that are best on the validation data; `true`: by their loss. */
  readonly best?: boolean | MonitorOptions
  readonly earlyStopping?: MonitorOptions & { readonly patience: number }
  /** Weights that the run exports. Default: the best if they are stored, else the average if any, else the last. */
  readonly weights?: WeightSelection
  /** Length of the run in passes over the training data; alternatively `steps`, the total number of optimizer steps. */
  readonly epochs?: number
  readonly steps?: number
  /** Steps between two evaluations. Default: an evaluation after every epoch. */
  readonly evaluateEvery?: number
  readonly checkpoints?: CheckpointsRecipe
  readonly seed?: number
  /** Threads per operator. Default: all cores. */
  readonly threads?: number
}

/** Options of a new head; 'data': as many classes as the training data have. */
export type HeadRecipe = Omit<HeadOptions, 'classes'> & { readonly classes: number | 'data' }

export interface DataRecipe {
  readonly train: DataSource
  /** Source of the validation data; alternatively `split`. */
  readonly validation?: DataSource
  /**
   * Share of the training data held out for validation, by a hash of each example's key and the seed (default 0), and
   * the same share of every class unless `stratify` is false; see `split`.
   */
  readonly split?: SplitRecipe
  /**
   * Examples of `train` that are not trained on, such as those with wrong labels: paths of files relative to the folder
   * of the source, or positions from 0. The part that `split` holds out stays the same.
   */
  readonly exclude?: readonly (string | number)[]
  /** Whether to repeat examples of rarer classes until all classes are equally frequent. Default false. */
  readonly balance?: boolean
}

/** Either `validation`, a share, or cross-validation with `folds` parts, of which `fold` (from 0) is held out. */
export interface SplitRecipe {
  readonly validation?: number
  readonly folds?: number
  readonly fold?: number
  readonly seed?: number
  readonly stratify?: boolean
}

export interface MixupRecipe {
  readonly alpha: number
  /** Number of classes. Default: the classes of the model. */
  readonly classes?: number
  /** Names of the tensors to mix. Default: the model's floating-point inputs. */
  readonly inputs?: NamePatterns
}

export interface TeacherRecipe {
  /** Path of the ONNX model. */
  readonly model: string
  /** Output of the teacher with the logits. Default: its only output. */
  readonly logits?: string
  /** Divisor of the logits of both models. Default 2. */
  readonly temperature?: number
  /** Share of the teacher in the loss. Default 0.5. */
  readonly weight?: number
}

/** Checkpoints of a run, in addition to one at the end of every epoch (or every `evaluateEvery` steps). */
export interface CheckpointsRecipe {
  readonly everySteps?: number
  /** Seconds between two checkpoints. Default 60, unless `everySteps` is given. */
  readonly everySeconds?: number
  /** Number of checkpoints to keep. Default 3. */
  readonly keep?: number
}

/** Fields of a recipe that an evaluation needs, with one data source. */
export type EvaluationRecipe = Pick<Recipe, 'loss' | 'metrics' | 'batchSize' | 'threads' | keyof PassOptions> & {
  readonly data: DataSource
}
