import type { PadOptions } from '../../data/padding.js'
import { choice, either, type JsonSchema, kind, list, object, text, whole } from '../../util/json-schema.js'
import { type Extent, extent, type Given, type Naming, naming, padSchema, type Streaming, streaming } from './common.js'
import { classNames } from './csv.js'

/**
 * UTF-8 texts: the documents of a folder with a sub-folder per class; or files, of which every line is an example, or with
 * `context` every run of so many tokens, the labels being the tokens that follow.
 */
export interface TextSource extends Naming, Extent, Streaming {
  readonly kind: 'text'
  readonly folder?: string
  /** Of a folder: the sub-folders in the order of their class numbers. Default: those of the training data, sorted. */
  readonly classes?: readonly string[]
  /** Of a folder: names of documents end in one of these. Default ['.txt']. */
  readonly extensions?: readonly string[]
  readonly files?: string | readonly string[]
  /** Left out, the model takes the texts themselves as strings; 'bytes': int64 numbers, those of the text's bytes. */
  readonly tokens?: 'bytes'
  /** Added to each byte, for models whose first numbers have other meanings (3 for ByT5). Default 0. */
  readonly offset?: number
  /** How texts of different length are filled up in a batch, with `tokens`. Default: with 0. */
  readonly padding?: Given<PadOptions>
  /** Tokens per example, of a language model: input t_i ... t_(i+n-1), labels t_(i+1) ... t_(i+n). */
  readonly context?: number
  /** Tokens between the beginnings of two examples. Default: `context`, so that they touch. */
  readonly stride?: number
}

export const textSchema: JsonSchema = object<TextSource>(
  {
    kind: kind('text'),
    folder: text('the path of the folder that has a sub-folder per class'),
    classes: classNames,
    extensions: list(text(), { minItems: 1 }, 'what names of documents end in'),
    files: either([text(), list(text(), { minItems: 1 })], 'the path of a text file, or a list of them'),
    tokens: choice(['bytes'], 'what the numbers are that the model reads'),
    offset: whole(0, 'what is added to each byte'),
    padding: padSchema,
    context: whole(1, 'tokens per example of a language model'),
    stride: whole(1, 'tokens between the beginnings of two examples'),
    ...naming,
    ...streaming,
    ...extent,
  },
  ['kind'],
)
