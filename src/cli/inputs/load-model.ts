import { build } from 'onnx-ire/models'
import { readModel } from '../../node/files/model.js'
import { modelOf } from '../../onnx/export/export-graph.js'
import type { Model } from '../../onnx/model.js'
import type { Recipe } from '../../recipe/recipe.js'
import { withPath } from '../../util/with-path.js'
import { presetTitle, readPreset } from './read-preset.js'

/**
 * Loads the model that a recipe starts from: reads its file, or builds its preset.
 * Throws `io`, `invalid-model`; for a preset `invalid-option`, and `invalid-recipe` naming every invalid option.
 */
export async function loadModel({ model, seed }: Pick<Recipe, 'model' | 'seed'>): Promise<Model> {
  if (typeof model === 'string') return readModel(model)
  const { preset: name, options = {} } = model
  return withPath('model', async () => {
    const assignments = Object.entries(options).map(([option, value]) => `${option}=${JSON.stringify(value)}`)
    const { inputs, outputs } = build(await readPreset(name, assignments), model.seed ?? seed)
    return modelOf({ name: presetTitle(name), inputs, outputs })
  })
}

/** Name of the initial model: the path of its file, or its preset. */
export const modelTitle = ({ model }: Pick<Recipe, 'model'>): string =>
  typeof model === 'string' ? model : model.preset
