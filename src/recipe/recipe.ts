import type { ImageOptions } from '../data/image.js'
import type { CrossEntropyOptions } from '../loss/cross-entropy.js'
import type { MseOptions } from '../loss/mse.js'
import type { AdamOptions } from '../optim/adam.js'
import type { Schedule } from '../optim/schedule.js'
import type { SgdOptions } from '../optim/sgd.js'
import type { IreOptions } from '../step/ire.js'
import type { SamOptions } from '../step/sam.js'
import type { HeadOptions } from '../train/head.js'
import type { Trainable } from '../train/weights.js'

/** A training run as data. Paths are relative to the file it stands in; what is left out has the library's default. */
export interface Recipe {
  readonly $schema?: string
  /** The ONNX model to start from. */
  readonly model: string
  /** The run folder. Default: `runs/<name of the recipe>` beside the recipe. */
  readonly output?: string
  readonly data: { readonly train: DataSource; readonly validation?: DataSource }
  readonly loss: LossRecipe
  readonly head?: HeadOptions
  readonly trainable?: Trainable
  readonly batchNorm?: 'frozen' | 'trained'
  readonly optimizer: OptimizerRecipe
  readonly schedule?: Schedule
  readonly clipNorm?: number
  readonly batchSize?: number
  /** Either passes over the training data or, in `steps`, optimizer steps in all. */
  readonly epochs?: number
  readonly steps?: number
  readonly seed?: number
  /** Threads one operator may use. Default: all cores. */
  readonly threads?: number
}

/** What evaluating a model takes of a recipe. */
export type EvaluationRecipe = Pick<Recipe, 'loss' | 'batchSize' | 'threads'> & { readonly data: DataSource }

export type LossRecipe =
  | ({ readonly kind: 'cross-entropy' } & CrossEntropyOptions)
  | ({ readonly kind: 'mse' } & MseOptions)

/** A base optimizer, with SAM and IRE around it where they are given. */
export type OptimizerRecipe = (
  | ({ readonly kind: 'sgd' } & SgdOptions)
  | ({ readonly kind: 'adam' } & AdamOptions)
  | ({ readonly kind: 'adamw' } & AdamOptions)
) & { readonly sam?: SamOptions; readonly ire?: IreOptions }

/** Where examples come from. Another kind of source is another member here, in the schema and in the command line's table. */
export type DataSource = IdxSource

/** Two files in IDX format: what the model reads, and what the loss compares with. */
export interface IdxSource {
  readonly kind: 'idx'
  readonly images: string
  readonly labels: string
  /** The model's input that takes the images. Default: its only input. */
  readonly input?: string
  /** The examples from number `start` up to but without `end`. Default: all. */
  readonly start?: number
  readonly end?: number
  /** How uint8 pixels become the model's input. */
  readonly image?: ImageOptions
}
