/**
 * Language models: folders as they are published, their form for training, chat data, and generation of text.
 * @module onnx-ire/language
 */

export {
  type LanguageDtype,
  type LanguageModel,
  type LanguageModelOptions,
  readLanguageModel,
} from './language-model.js'
export type { ModelFolder } from './model-folder.js'
export { type TrainingModelOptions, trainingModel } from './training-model.js'
