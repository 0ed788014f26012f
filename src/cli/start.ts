import type { Model } from '../onnx/model.js'
import type { Recipe } from '../recipe/recipe.js'

/**
 * The model a recipe starts from: read from its file, or made of its preset.
 * Throws `io`, `invalid-model`; for a preset `invalid-option`, and `invalid-recipe` naming every option that is wrong.
 */
export async function startModel({ model, seed }: Pick<Recipe, 'model' | 'seed'>): Promise<Model> {
  if (typeof model === 'string') {
    const { readModel } = await import('../node/model.js')
    return readModel(model)
  }
  const [{ readPreset, presetTitle }, { build }, { modelOf }, { located }] = await Promise.all([
    import('./preset.js'),
    import('onnx-ire/models'),
    import('../onnx/export.js'),
    import('./data/located.js'),
  ])
  const { preset: name, options = {} } = model
  return located('model', async () => {
    const changes = Object.entries(options).map(([option, value]) => `${option}=${JSON.stringify(value)}`)
    const { inputs, outputs } = build(await readPreset(name, changes), model.seed ?? seed)
    return modelOf({ name: presetTitle(name), inputs, outputs })
  })
}

/** What a recipe starts from, for people. */
export const startTitle = ({ model }: Pick<Recipe, 'model'>): string =>
  typeof model === 'string' ? model : model.preset
