import { join } from 'node:path'
import { type ColumnSource, fromArrays, labelColumn } from '../../data/arrays.js'
import { subset } from '../../data/dataset.js'
import { addUsage } from '../../data/model-usage.js'
import { paddedColumn } from '../../data/padding.js'
import type { LanguageModel } from '../../language/language-model.js'
import { crossEntropy } from '../../loss/cross-entropy.js'
import { cosineSimilarity, multipleNegatives } from '../../loss/embeddings.js'
import { accuracy, topK } from '../../metric/accuracy.js'
import { f1 } from '../../metric/precision-recall.js'
import { mae } from '../../metric/regression.js'
import { readJsonRows } from '../../node/data/json-rows.js'
import { writeModelFolder } from '../../node/files/model-folder.js'
import { listInputs } from '../../onnx/import/declarations.js'
import type { PassOptions } from '../../train/model/repeat-model.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { openLanguageModel } from '../inputs/open-language-model.js'
import { compareEmbeddings, predictClasses } from './samples.js'
import type { ModelTask, ModelTuningRequest } from './tune-model.js'

/** Options of the tasks with text. */
interface TextRequest extends ModelTuningRequest {
  readonly folder: string
  readonly data: string
  readonly dtype?: string
  /** Tokens of the longest text; the rest is cut. */
  readonly length: number
}

/** Options of `tune classify`. */
export interface ClassifyRequest extends TextRequest {
  readonly text: string
  readonly label: string
}

/** Options of `tune embed`. */
export interface EmbedRequest extends TextRequest {
  readonly pooling: 'mean' | 'first' | 'none'
  /** Factor of cosine similarities. */
  readonly scale: number
}

/** Rates that are usual for encoders of the size of BERT, and ten times those for adapters. */
const rates = { full: 2e-5, adapter: 2e-4 }

type Row = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Prepares the training of a text classifier on rows { text, label }. */
export async function prepareClassify(request: ClassifyRequest): Promise<ModelTask> {
  const encoder = await openEncoder(request)
  const rows = await readRows(request.data)
  const texts = rows.map((row, i) => textOf(row, request.text, request.data, i))
  const labels = rows.map((row, i) => labelOf(row, request.label, request.data, i))
  const names = [...new Set(labels)].sort()
  if (names.length < 2)
    throw new OnnxIreError(
      'invalid-data',
      `${request.data}: all rows have the '${request.label}' '${names[0]}'; a classifier needs two or more classes`,
    )
  const known = namesOf(encoder.config)
  const isKnown = known !== undefined && names.every((name) => known.includes(name))
  const classes = isKnown ? known : names
  const { columns, cut } = tokenize(encoder, texts, request.length, '')
  const numbers = labels.map((label) => classes.indexOf(label))
  const folder = join(request.output, 'model')
  const labelled = {
    ...encoder,
    config: {
      ...encoder.config,
      id2label: Object.fromEntries(classes.map((name, i) => [i, name])),
      label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
    },
  }
  const data = { ...fromArrays({ ...columns, labels: labelColumn(numbers) }), identify: () => ({ classes: numbers }) }
  return {
    task: 'classify',
    file: join(request.folder, encoder.file),
    model: encoder.model,
    data,
    options: {
      loss: crossEntropy(),
      metrics: [accuracy(), f1()],
      ...(!isKnown && { head: { classes: classes.length } }),
    },
    rates,
    about: `${classes.length} classes${isKnown ? ' of the model' : ', with a new last layer'}: ${shortList(classes)}`,
    outputs: [folder],
    warnings: warnOfCut(cut, request.length),
    sampling: {
      input: (i) => texts[i]!,
      expected: (i) => labels[i]!,
      predict: (tuned, indices, runtime) => predictClasses(tuned, subset(data, indices), classes, runtime),
    },
    write: (tuned) => writeModelFolder(folder, labelled, addUsage(tuned, { task: 'text-classification', classes })),
  }
}

/** Prepares the training of a text encoder on rows { anchor, positive } with negative or score. */
export async function prepareEmbed(request: EmbedRequest): Promise<ModelTask> {
  const encoder = await openEncoder(request)
  const rows = await readRows(request.data)
  const first = rows[0]!
  const hasScores = 'score' in first
  const passes = ['anchor', 'positive', ...('negative' in first && !hasScores ? ['negative'] : [])]
  const parts = passes.map((pass) => {
    const texts = rows.map((row, i) => textOf(row, pass, request.data, i))
    return tokenize(encoder, texts, request.length, `${pass}/`)
  })
  const scores = hasScores && rows.map((row, i) => scoreOf(row, request.data, i))
  const columns = Object.assign({}, ...parts.map((part) => part.columns)) as Record<string, ColumnSource>
  const folder = join(request.output, 'model')
  const passOptions: PassOptions = { passes, ...(request.pooling !== 'none' && { pooling: request.pooling }) }
  const data = fromArrays({
    ...columns,
    ...(scores && { targets: { dims: [rows.length], data: Float32Array.from(scores) } }),
  })
  return {
    task: 'embed',
    file: join(request.folder, encoder.file),
    model: encoder.model,
    data,
    options: {
      loss: hasScores ? cosineSimilarity() : multipleNegatives({ scale: request.scale }),
      metrics: hasScores ? [mae()] : [accuracy(), topK(5)],
      ...passOptions,
    },
    rates,
    about: hasScores
      ? 'similarity of anchor and positive (score)'
      : `every anchor with its positive against the others of the batch${passes.length > 2 ? ' and all negatives' : ''}`,
    outputs: [folder],
    warnings: warnOfCut(
      parts.reduce((sum, { cut }) => sum + cut, 0),
      request.length,
    ),
    sampling: {
      input: (i) => String(rows[i]!['anchor']),
      expected: (i) => `${rows[i]!['positive']}${scores ? ` (score ${scores[i]})` : ''}`,
      async predict(tuned, indices, runtime) {
        const similarities = await compareEmbeddings(tuned, subset(data, indices), passOptions, runtime)
        return similarities.map((row, i) => {
          // With scores, the pair itself; otherwise the positive that a search would find.
          const nearest = scores ? i : row.indexOf(Math.max(...row))
          return `${rows[indices[nearest]!]!['positive']} (cosine ${row[nearest]!.toFixed(2)})`
        })
      },
    },
    write: (tuned) => writeModelFolder(folder, encoder, tuned),
  }
}

/** Reads a model with its tokenizer. Throws `invalid-model` if it has an input that texts do not fill. */
async function openEncoder({ folder, dtype }: TextRequest): Promise<LanguageModel> {
  const encoder = await openLanguageModel(folder, dtype)
  const other = listInputs(encoder.model.proto).find(({ name = '' }) => !textInputs.includes(name))
  if (other === undefined) return encoder
  throw new OnnxIreError(
    'invalid-model',
    `${join(folder, encoder.file)} has the input '${other.name}'; the encoder of a text has the inputs ${textInputs.join(', ')}`,
  )
}

const textInputs: readonly string[] = ['input_ids', 'attention_mask', 'token_type_ids']

async function readRows(path: string): Promise<readonly Row[]> {
  const rows = await readJsonRows(path)
  if (rows.length === 0) throw new OnnxIreError('invalid-data', `${path} has no rows`)
  return rows.map((row, i) => {
    if (isObject(row)) return row
    throw new OnnxIreError('invalid-data', `${path}: row ${i + 1} is no object`)
  })
}

function fieldOf(row: Row, name: string, path: string, i: number): unknown {
  const value = getOwn(row, name)
  if (value !== undefined && value !== null) return value
  throw new OnnxIreError(
    'invalid-data',
    `${path}: row ${i + 1} has no '${name}'; it has ${Object.keys(row).join(', ') || 'no fields'}`,
  )
}

function textOf(row: Row, name: string, path: string, i: number): string {
  const value = fieldOf(row, name, path, i)
  if (typeof value === 'string' && value.trim() !== '') return value
  throw new OnnxIreError('invalid-data', `${path}: '${name}' of row ${i + 1} must be a text that is not empty`)
}

function labelOf(row: Row, name: string, path: string, i: number): string {
  const value = fieldOf(row, name, path, i)
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new OnnxIreError('invalid-data', `${path}: '${name}' of row ${i + 1} must be a text, a number or a boolean`)
}

function scoreOf(row: Row, path: string, i: number): number {
  const value = fieldOf(row, 'score', path, i)
  if (typeof value === 'number' && value >= -1 && value <= 1) return value
  throw new OnnxIreError(
    'invalid-data',
    `${path}: 'score' of row ${i + 1} is ${value}; it must be a number from -1 to 1`,
  )
}

/** Columns of the tokens of texts, and how many texts were cut. */
function tokenize(
  { tokenizer, padToken, model }: LanguageModel,
  texts: readonly string[],
  length: number,
  prefix: string,
) {
  let cut = 0
  const rows = texts.map((text) => {
    const tokens = tokenizer.encode(text, { around: true })
    if (tokens.length <= length) return tokens
    cut++
    return [...tokens.slice(0, length - 1), tokens.at(-1)!]
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

const warnOfCut = (cut: number, length: number): string[] =>
  cut === 0 ? [] : [`${cut} texts have more than ${length} tokens; their ends are cut: raise --length`]

/** Names of the model's classes in config.json, by number. */
function namesOf({ id2label }: Readonly<Record<string, unknown>>): string[] | undefined {
  if (!isObject(id2label)) return undefined
  const names = Object.entries(id2label).sort(([a], [b]) => Number(a) - Number(b))
  return names.every(([, name]) => typeof name === 'string') ? names.map(([, name]) => name as string) : undefined
}

const shortList = (names: readonly string[]): string =>
  names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`
