import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ColumnSource } from '../../data/arrays.js'
import { paddedColumn } from '../../data/padding.js'
import { contextLengthOf, type LanguageModel } from '../../language/language-model.js'
import { modelOf } from '../../onnx/export/export-graph.js'
import { listInputs } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { type PassOptions, repeatModel } from '../../train/model/repeat-model.js'
import { OnnxIreError } from '../../util/errors.js'
import { formatCount } from '../format.js'
import { modelFolderOf, openLanguageModel } from './open-language-model.js'

/** Tokens of the longest text in `tune classify` and `predict`, unless `--length` sets them. */
export const defaultTextLength = 256

const textInputs: readonly string[] = ['input_ids', 'attention_mask', 'token_type_ids']

/** The folder of a model with its tokenizer: the path itself, or the one in the output folder of `tune`. */
export const findEncoderFolder = (path: string): string | undefined =>
  [path, modelFolderOf(path)].find((folder) =>
    ['config.json', 'tokenizer.json'].every((file) => existsSync(join(folder, file))),
  )

/** Reads a model with its tokenizer. Throws `invalid-model` if it has an input that texts do not fill. */
export async function openEncoder(folder: string, dtype?: string): Promise<LanguageModel> {
  const encoder = await openLanguageModel(folder, dtype)
  const other = listInputs(encoder.model.proto).find(({ name = '' }) => !textInputs.includes(name))
  if (other === undefined) return encoder
  throw new OnnxIreError(
    'invalid-model',
    `${join(folder, encoder.file)} has the input '${other.name}'; the encoder of a text has the inputs ${textInputs.join(', ')}; chat and tune chat take language models`,
  )
}

/**
 * Columns of the tokens of texts, and how many texts were cut.
 * @param longest largest number of tokens of a text, unless the model reads fewer
 * @param prefix text before the names of the inputs
 */
export function encodeTexts(encoder: LanguageModel, texts: readonly string[], longest: number, prefix = '') {
  const { tokenizer, padToken, model } = encoder
  const length = Math.min(longest, contextLengthOf(encoder))
  let cut = 0
  const rows = texts.map((text) => {
    const tokens = tokenizer.encode(text, { around: true })
    if (tokens.length <= length) return tokens
    cut++
    return cutTokens(tokens, tokenizer.encode(text), length)
  })
  const inputs = new Set(listInputs(model.proto).map(({ name }) => name))
  const columns: Record<string, ColumnSource> = {
    [`${prefix}input_ids`]: paddedColumn(rows, {
      value: padToken,
      ...(inputs.has('attention_mask') && { mask: `${prefix}attention_mask` }),
    }),
    ...(inputs.has('token_type_ids') && {
      [`${prefix}token_type_ids`]: paddedColumn(rows.map((row) => row.map(() => 0))),
    }),
  }
  return { columns, cut }
}

/**
 * Cuts the tokens of a text, and leaves those that the tokenizer adds before and after it.
 * @param own the tokens of the text alone
 */
function cutTokens(tokens: readonly number[], own: readonly number[], length: number): number[] {
  const added = tokens.length - own.length
  const isAt = (start: number) => own.every((token, i) => tokens[start + i] === token)
  let start = 0
  while (start < added && !isAt(start)) start++
  const after = tokens.slice(start + own.length)
  return [...tokens.slice(0, Math.max(0, length - after.length)), ...after].slice(0, length)
}

/** A model with one embedding per text in place of the states of its tokens. */
export function poolStates(model: Model, pooling: NonNullable<PassOptions['pooling']>): Model {
  const { name, inputs, outputs, metadata = {} } = repeatModel(importGraph(model), { pooling })
  return modelOf({ name, inputs, outputs, metadata })
}

/** The warning that texts are cut; none if they are not. */
export function warnOfCut(cut: number, length: number, encoder: LanguageModel): string[] {
  const most = contextLengthOf(encoder)
  const reason = length < most ? 'raise --length' : 'the model reads no more'
  return cut === 0
    ? []
    : [`${formatCount(cut, 'text')} of more than ${Math.min(length, most)} tokens: the rest is cut; ${reason}`]
}
