/**
 * Recipes: training runs as JSON, checked against a schema, and converted to the options of a trainer.
 * @module onnx-ire/recipe
 */

export type { JsonSchema } from '../util/json-schema.js'
export { fitOptions, trainerOptions } from './build.js'
export type { CombinedLoss, TaskLoss } from './loss.js'
export type { PresetModel } from './model.js'
export type { IreRecipe } from './optimizer.js'
export { checkRecipe, parseRecipe } from './parse.js'
export type {
  CheckpointsRecipe,
  DataRecipe,
  DataSource,
  LossRecipe,
  MetricRecipe,
  MixupRecipe,
  ModelRecipe,
  OptimizerRecipe,
  Recipe,
  SplitRecipe,
  TeacherRecipe,
} from './recipe.js'
export { recipeSchema } from './schema.js'
export type { CifarSource, IdxSource, ImageFolderSource } from './sources/images.js'
export type { CsvSource, JsonlSource } from './sources/tables.js'
export type { TextSource, TokensSource } from './sources/text.js'
