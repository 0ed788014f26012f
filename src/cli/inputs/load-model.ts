import { build } from 'onnx-ire/models'
import { readModel } from '../../node/model.js'
import { modelOf } from '../../onnx/export/export-graph.js'
import type { Model } from '../../onnx/model.js'
import type { Recipe } from '../../recipe/recipe.js'
import { withPath } from '../../util/with-path.js'
import { presetTitle, readPreset } from './read-preset.js'

/**
 * The model a recipe starts from: read from its file, or made of its preset.
 * Throws `io`, `invalid-model`; for a preset `invalid-option`, and `invalid-recipe` naming every option that is wrong.
 */
export async function loadModel({ model, seed }: Pick<Recipe, 'model' | 'seed'>): Promise<Model> {
  if (typeof model === 'string') {
    return readModel(model)
  }
  const { preset: name, options = {} } = model
  return withPath('model', async () => {
    const changes = Object.entries(options).map(([option, value]) => `${option}=${JSON.stringify(value)}`)
    const { inputs, outputs } = build(await readPreset(name, changes), model.seed ?? seed)
    return modelOf({ name: presetTitle(name), inputs, outputs })
  })
}

/** What a recipe starts from, for people. */
export const modelTitle = ({ model }: Pick<Recipe, 'model'>): string =>
  typeof model === 'string' ? model : model.preset
