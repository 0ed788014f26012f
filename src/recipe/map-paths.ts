import { mapModelPath } from './model.js'
import type { Recipe } from './recipe.js'
import { mapSourcePaths } from './sources/source.js'

/** Maps every path of a recipe by `f`, to resolve paths relative to its file for instance. */
export function mapPaths(recipe: Recipe, f: (path: string) => string): Recipe {
  const { train, validation } = recipe.data
  return {
    ...recipe,
    model: mapModelPath(recipe.model, f),
    ...(recipe.output === undefined ? {} : { output: f(recipe.output) }),
    data: {
      ...recipe.data,
      train: mapSourcePaths(train, f),
      ...(validation === undefined ? {} : { validation: mapSourcePaths(validation, f) }),
    },
  }
}
