import type { PadOptions } from '../../data/padding.js'
import { flag, type JsonSchema, object, real, text, whole } from '../../util/json-schema.js'

/** Range of the examples of a source. */
export interface SourceRange {
  /** Index of the first example; the range excludes `end`. Default: all examples. */
  readonly start?: number
  readonly end?: number
}

export const rangeFields = {
  start: whole(0, 'the index of the first example', Number.MAX_SAFE_INTEGER),
  end: whole(1, 'the index after the last example', Number.MAX_SAFE_INTEGER),
}

/** Streaming of a file that may be larger than memory. */
export interface SourceStreaming {
  /** Whether to read the file during training and shuffle it through a buffer, instead of loading it. Default false. */
  readonly stream?: boolean
  /** Size of the shuffle buffer when streaming, in examples. Default 1024. */
  readonly shuffleBuffer?: number
}

export const streamingFields = {
  stream: flag('whether the file is read during training instead of loaded into memory'),
  shuffleBuffer: whole(1, 'the size of the shuffle buffer when streaming, in examples', 2 ** 24),
}

/** Names of the tensors of a source with an input and labels. */
export interface SourceNames {
  /** Input of the model that receives the examples. Default: the only input. */
  readonly input?: string
  /** Name of the labels that the loss reads. Default: its only labels. */
  readonly target?: string
}

export const nameFields = {
  input: text("the model's input that receives the examples"),
  target: text('the name of the labels that the loss reads'),
}

/** Largest number of tokens of an example. */
export const maxTokens = 2 ** 20

/** JSON Schema of padding. */
export const padSchema: JsonSchema = object<PadOptions>({
  value: real({}, 'the padding value'),
  length: whole(1, 'the length of every batch', maxTokens),
  maxLength: whole(1, 'the length to which longer examples are truncated', maxTokens),
  multipleOf: whole(1, 'the multiple to which the length of a batch is rounded up', maxTokens),
  mask: text('the name of the attention mask to create'),
})

/** Options of a recipe: fields are present or absent, never undefined. */
export type Defined<Options> = { readonly [K in keyof Options]: Exclude<Options[K], undefined> }
