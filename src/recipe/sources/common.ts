import type { PadOptions } from '../../data/padding.js'
import { flag, type JsonSchema, object, real, text, whole } from '../../util/json-schema.js'

/** A part of a source. */
export interface Extent {
  /** The examples from number `start` up to but without `end`. Default: all. */
  readonly start?: number
  readonly end?: number
}

export const extent = {
  start: whole(0, 'the number of the first example'),
  end: whole(1, 'the number after the last example'),
}

/** How a file is read that may be larger than memory. */
export interface Streaming {
  /** Read as it is trained on, and shuffled through a buffer, instead of being held in memory. Default false. */
  readonly stream?: boolean
  /** Examples to shuffle among when streaming. Default 1024. */
  readonly shuffleBuffer?: number
}

export const streaming = {
  stream: flag('whether the file is read as it is trained on, not held in memory'),
  shuffleBuffer: whole(1, 'examples to shuffle among when streaming'),
}

/** What a source that makes an input and its labels calls them. */
export interface Naming {
  /** The model's input that takes the examples. Default: its only input. */
  readonly input?: string
  /** The name under which the loss looks for labels. Default: its only one. */
  readonly target?: string
}

export const naming = {
  input: text("the model's input that takes the examples"),
  target: text('the name under which the loss looks for the labels'),
}

/** How examples that differ in length are filled up. */
export const padSchema: JsonSchema = object<PadOptions>({
  value: real({}, 'what fills'),
  length: whole(1, 'the length of every batch'),
  maxLength: whole(1, 'the length to which longer examples are cut'),
  multipleOf: whole(1, 'what the length of a batch is a multiple of'),
  mask: text('the name of the attention mask to make'),
})

/** `Options` as a recipe has them: fields are there or not, never undefined. */
export type Given<Options> = { readonly [K in keyof Options]: Exclude<Options[K], undefined> }
