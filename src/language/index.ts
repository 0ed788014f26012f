/**
 * Language models: folders as they are published, their form for training, chat data, and generation of text.
 * @module onnx-ire/language
 */

export { type ChatData, type ChatDataOptions, type ChatDataReport, chatData } from './chat-data.js'
export { type ChatMessage, type ChatRow, parseChatRow } from './chat-rows.js'
export { ChatTemplate, type ChatTemplateContext, type RenderedChat, type TextSpan } from './chat-template.js'
export { type ChatEncoder, encodeChat, type TokenExample } from './encode-chat.js'
export { type GeneratedText, type GenerateOptions, TextGenerator } from './generate.js'
export {
  type LanguageDtype,
  type LanguageModel,
  type LanguageModelOptions,
  readLanguageModel,
} from './language-model.js'
export type { ModelFolder } from './model-folder.js'
export { nextToken } from './next-token.js'
export {
  type AnswerPair,
  addReference,
  type PreferenceData,
  type PreferenceDataOptions,
  preferenceData,
  type ReferenceOptions,
} from './preference-data.js'
export { type DpoOptions, dpo, type OrpoOptions, orpo } from './preference-loss.js'
export type { SamplingOptions } from './sample.js'
export { type TrainingModelOptions, trainingModel } from './training-model.js'
