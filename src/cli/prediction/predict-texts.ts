import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { fromArrays } from '../../data/arrays.js'
import { readUsage } from '../../data/model/model-usage.js'
import { refuseOptions, usageError } from '../errors.js'
import { defaultTextLength, encodeTexts, openEncoder, poolStates, warnOfCut } from '../inputs/text-encoder.js'
import { readRows, textOf } from '../inputs/text-rows.js'
import { type Io, writeText } from '../io.js'
import { type ExampleSource, type PredictOptions, selectWriter, writePredictions } from './write-predictions.js'

/**
 * Predicts for texts on the command line, or for those of the rows of files.
 * @param folder of an encoder, as `tune classify` and `tune embed` write it
 */
export async function predictTexts(
  io: Io,
  command: Command,
  folder: string,
  inputs: readonly string[],
  typed: PredictOptions,
): Promise<void> {
  refuseOptions(command, ['data', 'on', 'set'], `is for a recipe; ${folder} takes texts, or .jsonl or .csv files`)
  if (inputs.length === 0) return usageError(command, 'give texts, or .jsonl or .csv files with texts')
  const files = inputs.every((input) => /\.(jsonl?|[ct]sv)$/i.test(input)) ? inputs : []
  const path = files.length === 0 ? inputs.find(isFile) : undefined
  if (path !== undefined)
    usageError(command, `${path} is a file: give texts, or .jsonl or .csv files alone, with a text in each row`)
  if (files.length === 0) refuseOptions(command, ['text'], 'names a field of a file, and texts are given')
  const { text = 'text', length = defaultTextLength } = typed
  const encoder = await openEncoder(folder)
  const { task, classes, pooling } = readUsage(encoder.model)
  if (task === 'feature-extraction')
    refuseOptions(
      command,
      ['classes', 'classNames'],
      `is for scores of classes, and ${folder} gives embeddings: omit it`,
    )
  const model = pooling === undefined ? encoder.model : poolStates(encoder.model, pooling)
  const options = classes ? { ...typed, classes: true as const } : typed
  const writer = selectWriter(command, options)
  const texts = files.length === 0 ? inputs : await readTexts(files, text)
  const blank = texts.findIndex((each) => each.trim() === '')
  if (blank >= 0) usageError(command, `text ${blank + 1} is empty`)
  const { columns, cut } = encodeTexts(encoder, texts, length)
  for (const warning of warnOfCut(cut, length, encoder)) writeText(io.stderr, `warning: ${warning}\n`)
  const examples: ExampleSource = {
    listFiles: async () => files,
    open: async () => ({ data: fromArrays(columns), origins: { kind: 'text', names: texts } }),
  }
  await writePredictions(io, { path: join(folder, encoder.file), model, names: classes }, examples, options, writer)
}

/** Reads the texts in a field of the rows of files. */
async function readTexts(files: readonly string[], field: string): Promise<string[]> {
  const texts: string[] = []
  for (const file of files)
    for (const [i, row] of (await readRows(file)).entries()) texts.push(textOf(row, field, file, i))
  return texts
}

const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile()
