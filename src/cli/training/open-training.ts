import { subset } from '../../data/dataset.js'
import { type DatasetOrStream, takeExamples } from '../../data/stream.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { RecipeData, resolveHead } from '../../node/data/recipe-data.js'
import type { Model } from '../../onnx/model.js'
import { trainerOptions } from '../../recipe/build.js'
import type { Recipe } from '../../recipe/recipe.js'
import { createStartModel } from '../../train/model/start-model.js'
import type { TrainerOptions } from '../../train/options.js'
import { loadModel, loadTeacher } from '../inputs/read-recipe.js'

/** Everything that a training run reads. */
export interface TrainingInputs {
  /** The model with its new head and its adapter. */
  readonly model: Model
  /** The model before these changes. */
  readonly initial: Model
  readonly options: Omit<TrainerOptions, 'runtime'>
  readonly data: DatasetOrStream
  readonly validation: DatasetOrStream | undefined
  readonly classes: ClassNames
  /** The recipe with the statistics of the training data. */
  readonly fitted: Recipe
  /** Facts about the data that a user should know. */
  readonly warnings: readonly string[]
  /** A warning of texts that `ctc` leaves out, if their number is known before training. */
  readonly tooLong: string | undefined
}

/** Opens the model and the data of a recipe, for a run without a folder. */
export const openTraining = async (recipe: Recipe): Promise<TrainingInputs> =>
  openInputs(recipe, await loadModel(recipe), await loadTeacher(recipe))

/** Opens the data of a recipe, and makes the changes that it makes to a model before training. */
export async function openInputs(given: Recipe, initial: Model, teacher: Model | undefined): Promise<TrainingInputs> {
  const recipe = await resolveHead(given, initial)
  const { model, ...choice } = await createStartModel(initial, recipe)
  const recipeData = await RecipeData.open(recipe, model)
  const data = await recipeData.train()
  const validation = await recipeData.validation()
  const classes = await recipeData.classes()
  const fitted = await recipeData.withStatistics(recipe)
  const all = trainerOptions(await recipeData.inSteps(), { teacher })
  const { freeBatch: _freeBatch, untie: _untie, tie: _tie, head: _head, adapter: _adapter, ...options } = all
  return {
    model,
    initial,
    options: { ...options, ...choice },
    data,
    validation,
    classes,
    fitted,
    warnings: await recipeData.warnings(),
    tooLong: await recipeData.tooLong(),
  }
}

/** The examples of the first batch of a recipe, in the order of the data. */
export const firstBatch = (data: DatasetOrStream, { batchSize = 32 }: Recipe): DatasetOrStream =>
  'batch' in data ? subset(data, { end: Math.min(batchSize, data.length) }) : takeExamples(data, batchSize)
