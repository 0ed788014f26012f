import type { ModelUsage } from '../data/model-usage.js'
import type { Recipe } from './recipe.js'

/**
 * Class names and the conversion of images of the model that a recipe trains, for its metadata.
 * @param classes class names of the data by tensor
 */
export function usageOf({ data }: Recipe, classes: Readonly<Record<string, readonly string[]>>): ModelUsage {
  const { train } = data
  const [names, ...others] = Object.values(classes)
  return {
    ...(names && others.length === 0 ? { classes: names } : {}),
    ...(train.kind === 'image-folder' && train.image?.size !== undefined && train.dims === undefined
      ? { image: train.image }
      : {}),
  }
}
