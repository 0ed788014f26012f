import type { PadOptions } from '../../data/padding.js'
import { choice, either, type JsonSchema, kind, list, object, text, whole } from '../../util/json-schema.js'
import {
  type Defined,
  maxTokens,
  nameFields,
  padSchema,
  rangeFields,
  type SourceNames,
  type SourceRange,
  type SourceStreaming,
  streamingFields,
} from './common.js'
import { classNames } from './tables.js'

/**
 * UTF-8 texts. Either a folder of documents with a sub-folder per class; or files, whose examples are lines, or with
 * `context` windows of tokens, labeled with the tokens that follow.
 */
export interface TextSource extends SourceNames, SourceRange, SourceStreaming {
  readonly kind: 'text'
  readonly folder?: string
  /**
   * Sub-folders of `folder` in the order of their class numbers. Default: the sub-folders of the training data, sorted.
   */
  readonly classes?: readonly string[]
  /** File name extensions of the documents of `folder`. Default ['.txt']. */
  readonly extensions?: readonly string[]
  readonly files?: string | readonly string[]
  /** Tokens of the model: 'bytes' for the text's bytes as int64. Default: the model receives strings. */
  readonly tokens?: 'bytes'
  /** Offset added to each byte, for models whose first token numbers are reserved (3 for ByT5). Default 0. */
  readonly offset?: number
  /** Padding of texts of different length, with `tokens`. Default: padded with 0. */
  readonly padding?: Defined<PadOptions>
  /** Tokens per example of a language model: input t_i ... t_(i+n-1), labels t_(i+1) ... t_(i+n). */
  readonly context?: number
  /** Tokens between the starts of two examples. Default: `context`, for adjacent examples. */
  readonly stride?: number
}

export const textSchema: JsonSchema = object<TextSource>(
  {
    kind: kind('text'),
    folder: text('the path of the folder with a sub-folder per class'),
    classes: classNames,
    extensions: list(text(), { minItems: 1 }, 'the file name extensions of documents'),
    files: either([text(), list(text(), { minItems: 1 })], 'the path of a text file, or a list of paths'),
    tokens: choice(['bytes'], 'the tokens of the model'),
    offset: whole(0, 'the offset added to each byte', 2 ** 24),
    padding: padSchema,
    context: whole(1, 'tokens per example of a language model', maxTokens),
    stride: whole(1, 'tokens between the starts of two examples'),
    ...nameFields,
    ...streamingFields,
    ...rangeFields,
  },
  ['kind'],
)

/**
 * Token file of `onnx-ire data prepare text`, for a language model: input t_i ... t_(i+n-1), labels t_(i+1) ...
 * t_(i+n). It is read batch by batch and may be larger than memory.
 */
export interface TokensSource extends SourceNames, SourceRange {
  readonly kind: 'tokens'
  readonly file: string
  /** Tokens per example. */
  readonly context: number
  /** Tokens between the starts of two examples. Default: `context`, for adjacent examples. */
  readonly stride?: number
}

export const tokensSchema: JsonSchema = object<TokensSource>(
  {
    kind: kind('tokens'),
    file: text('the path of the token file'),
    context: whole(1, 'tokens per example', maxTokens),
    stride: whole(1, 'tokens between the starts of two examples'),
    ...nameFields,
    ...rangeFields,
  },
  ['kind', 'file', 'context'],
)
