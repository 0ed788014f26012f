export type { JsonSchema } from '../util/json-schema.js'
export { fitOptions, metricsOf, trainerOptions, weightsOf } from './build.js'
export { type CombinedLoss, createLoss, type TaskLoss } from './loss.js'
export type { PresetModel } from './model.js'
export { type IreRecipe, inSteps, optimizerOf } from './optimizer.js'
export { checkRecipe, parseRecipe } from './parse.js'
export { mapPaths } from './paths.js'
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
} from './recipe.js'
export { recipeSchema } from './schema.js'
export { mixed, type Sight, settled } from './settle.js'
export type { CifarSource } from './sources/cifar.js'
export type { CsvSource } from './sources/csv.js'
export type { IdxSource } from './sources/idx.js'
export type { ImageFolderSource } from './sources/image-folder.js'
export type { JsonlSource } from './sources/jsonl.js'
export type { TextSource } from './sources/text.js'
export type { TokensSource } from './sources/tokens.js'
