import {
  type AugmentedMasksOptions,
  type AugmentImagesOptions,
  augmentImages,
} from '../../data/augment/augment-images.js'
import type { AugmentationSpec } from '../../data/augment/registry.js'
import type { Dataset } from '../../data/dataset.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { TableStatistics } from '../../data/table-statistics.js'
import { reshapeExamples } from '../../data/transform.js'
import type { LossTarget } from '../../loss/registry.js'
import { listInputs } from '../../onnx/import/declarations.js'
import type { Model } from '../../onnx/model.js'
import type { LossRecipe } from '../../recipe/loss.js'
import type { SourceNames } from '../../recipe/sources/common.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'

/** Class names by tensor: the position of a name is its class number. */
export type ClassNames = Readonly<Record<string, readonly string[]>>

/** A data source of a recipe, opened. */
export interface OpenedSource {
  readonly data: DatasetOrStream
  /** The same examples with the tensors that are cheap to read, for counting labels. Default: `data`. */
  readonly labels?: DatasetOrStream
  /** Names of the classes, by tensor. */
  readonly classes?: ClassNames
  /** Facts about the examples that a user should know before training on them. */
  readonly warnings?: readonly string[]
  /** A warning of texts among these that `ctc` leaves out, because they need more steps than the model has. */
  readonly tooLong?: (positions: Uint32Array) => string | undefined
  /** Path of each example, if every example is a file. */
  readonly files?: readonly string[]
}

/** Facts about the run that a data source is opened for. */
export interface OpenContext {
  readonly model: Model
  /** Tensors that the loss compares with the outputs of the model; null if labels are not needed. */
  readonly targets: readonly LossTarget[] | null
  /** The loss that reads the labels, and whose scores the labels must fit; undefined if the model is not final. */
  readonly loss?: LossRecipe | undefined
  /** Reads the class names of the training data, for a source that does not list its own. */
  readonly classes: () => Promise<ClassNames>
  /** Reads the statistics of the columns of the training data, for another source than that. */
  readonly statistics?: () => Promise<TableStatistics | undefined>
}

/**
 * The tensors of a source to read: if labels are not needed, those that the model reads, since new data may lack the
 * columns or fields of others.
 */
export function selectTensors<T>(
  tensors: Readonly<Record<string, T>>,
  { model, targets }: OpenContext,
): Readonly<Record<string, T>> {
  if (targets !== null) return tensors
  const inputs = new Set(listInputs(model.proto).map(({ name }) => name))
  const read = Object.entries(tensors).filter(([name]) => inputs.has(name))
  return read.length > 0 ? Object.fromEntries(read) : tensors
}

/** Adds class names from the training data to every tensor that needs names. Reads them only if a tensor needs some. */
export async function addClassNames<T>(
  tensors: Readonly<Record<string, T>>,
  needsNames: (tensor: T) => boolean,
  { classes }: OpenContext,
): Promise<Readonly<Record<string, T>>> {
  if (!Object.values(tensors).some(needsNames)) return tensors
  const names = await classes()
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [
      name,
      needsNames(tensor) && getOwn(names, name) ? ({ ...tensor, classes: getOwn(names, name) } as T) : tensor,
    ]),
  )
}

/** Applies the augmentations and the dims of an image source to the tensor `input` of a data set. */
export function augmentAndReshape(
  data: Dataset,
  input: string,
  {
    augment,
    image,
    dims,
  }: Pick<AugmentImagesOptions, 'image'> & {
    readonly augment?: readonly AugmentationSpec[]
    readonly dims?: readonly number[]
  },
  masks?: AugmentedMasksOptions,
): Dataset {
  const augmented = augment === undefined ? data : augmentImages(data, { input, augmentations: augment, image, masks })
  return dims === undefined ? augmented : reshapeExamples(augmented, input, dims)
}

/**
 * The model input that the examples of a source go to: `input` of the source, or the only input. Throws
 * `invalid-recipe`.
 */
export function inferInput({ input }: SourceNames, { model }: Pick<OpenContext, 'model'>): string {
  if (input !== undefined) return input
  const names = listInputs(model.proto).map(({ name = '' }) => name)
  if (names.length === 1) return names[0]!
  throw new OnnxIreError(
    'invalid-recipe',
    `the model has ${names.length} inputs${names.length > 0 ? ` (${names.join(', ')})` : ''}; name the input for the examples: "input": "..."`,
  )
}

/**
 * The target of the loss that the labels of a source belong to: `target` of the source, or the only target; null if no
 * labels are needed. Throws `invalid-recipe`.
 */
export function inferTarget({ target }: SourceNames, { targets }: OpenContext): LossTarget | null {
  if (targets === null) return null
  const names = [...new Set(targets.map(({ name }) => name))]
  const found = targets.find(({ name }) => name === (target ?? names[0]))
  if (found && (target !== undefined || names.length === 1)) return found
  const available = names.join(', ')
  throw new OnnxIreError(
    'invalid-recipe',
    target === undefined
      ? `the loss compares ${available}; name the target of the labels: "target": "..."`
      : `target is '${target}', but the loss compares ${available}`,
  )
}
