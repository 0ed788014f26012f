import { either, type JsonSchema, map, object, text, whole } from '../util/json-schema.js'

/** What a run starts from: the path of an ONNX model, or a known architecture with fresh weights. */
export type ModelRecipe = string | PresetModel

/** A model as `onnx-ire init` makes it, made when the run begins. */
export interface PresetModel {
  /** A name that `onnx-ire init --list` gives, or the path of a preset (.json). */
  readonly preset: string
  /** Options of the architecture that differ from the preset's. */
  readonly options?: Readonly<Record<string, unknown>>
  /** Decides the first weights. Default: the seed of the recipe, else the preset's. */
  readonly seed?: number
}

export const modelSchema: JsonSchema = either(
  [
    text(),
    object<PresetModel>(
      {
        preset: text('a name that onnx-ire init --list gives, or the path of a preset (.json)'),
        options: map({}, 'options of the architecture'),
        seed: whole(0, 'decides the first weights'),
      },
      ['preset'],
    ),
  ],
  'the path of the ONNX model to start from, or { preset, options, seed }',
)

/** Whether a preset is named by its path. */
export const isPresetPath = (preset: string): boolean => preset.toLowerCase().endsWith('.json')

/** A model with every path in it passed through `f`. */
export function mapModelPath(model: ModelRecipe, f: (path: string) => string): ModelRecipe {
  if (typeof model === 'string') return f(model)
  return isPresetPath(model.preset) ? { ...model, preset: f(model.preset) } : model
}
