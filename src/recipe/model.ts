import { either, type JsonSchema, map, object, seed, text } from '../util/json-schema.js'

/** Model of a recipe: the path of an ONNX model, or a preset architecture with new weights. */
export type ModelRecipe = string | PresetModel

/** Model that is created when the run starts, as by `onnx-ire init`. */
export interface PresetModel {
  /** Name of a preset from `onnx-ire init --list`, or the path of a preset (.json). */
  readonly preset: string
  /** Options of the architecture that override the preset's. */
  readonly options?: Readonly<Record<string, unknown>>
  /** Seed of the initial weights. Default: the seed of the recipe, else the preset's. */
  readonly seed?: number
}

/** JSON Schema of the model of a recipe. */
export const modelSchema: JsonSchema = either(
  [
    text(),
    object<PresetModel>(
      {
        preset: text('a name from onnx-ire init --list, or the path of a preset (.json)'),
        options: map({}, 'options of the architecture'),
        seed: seed('the seed of the initial weights'),
      },
      ['preset'],
    ),
  ],
  'the path of the ONNX model to start from, or { preset, options, seed }',
)

/** Whether a preset is a file, not a name in the package. */
export const isPresetFile = (preset: string): boolean => preset.toLowerCase().endsWith('.json')

/** Maps every path of a model recipe by `f`. */
export function mapModelPath(model: ModelRecipe, f: (path: string) => string): ModelRecipe {
  if (typeof model === 'string') return f(model)
  return isPresetFile(model.preset) ? { ...model, preset: f(model.preset) } : model
}
