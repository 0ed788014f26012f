import { join } from 'node:path'
import { type ColumnSource, fromArrays, labelColumn } from '../../data/arrays.js'
import { subset } from '../../data/dataset.js'
import { addUsage, type ModelUsage } from '../../data/model/model-usage.js'
import { isFloat } from '../../ir/dtype.js'
import { formatShape } from '../../ir/shape.js'
import type { Graph } from '../../ir/value.js'
import { crossEntropy } from '../../loss/cross-entropy.js'
import { cosineSimilarity, multipleNegatives } from '../../loss/embeddings.js'
import { accuracy, topK } from '../../metric/accuracy.js'
import { f1 } from '../../metric/precision-recall.js'
import { mae } from '../../metric/regression.js'
import { writeModelFolder } from '../../node/files/model-folder.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import type { PassOptions } from '../../train/model/repeat-model.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn, isObject } from '../../util/record.js'
import { listFirst } from '../format.js'
import { modelFolderOf } from '../inputs/open-language-model.js'
import { encodeTexts, openEncoder, warnOfCut } from '../inputs/text-encoder.js'
import { fieldOf, type Row, readRows, textOf } from '../inputs/text-rows.js'
import type { ModelTask, ModelTuningRequest } from './model-tuning.js'
import { compareEmbeddings, predictClasses } from './samples.js'

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
  /** Factor of cosine similarities, for rows without score; default 20. */
  readonly scale?: number
}

/** Rates that are usual for encoders of the size of BERT, and ten times those for adapters. */
const rates = { full: 2e-5, adapter: 2e-4 }

/** Prepares the training of a text classifier on rows { text, label }. */
export async function prepareClassify(request: ClassifyRequest): Promise<ModelTask> {
  const encoder = await openEncoder(request.folder, request.dtype)
  const scores = findScores(encoder.model, join(request.folder, encoder.file))
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
  const { columns, cut } = encodeTexts(encoder, texts, request.length)
  const numbers = labels.map((label) => classes.indexOf(label))
  const folder = modelFolderOf(request.output)
  const labeled = {
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
      loss: crossEntropy({ logits: scores }),
      metrics: [accuracy(), f1()],
      ...(!isKnown && { head: { output: scores, classes: classes.length } }),
    },
    rates,
    about: `${classes.length} classes${isKnown ? ' of the model' : ', with a new last layer'}: ${listFirst(classes)}`,
    outputs: [folder],
    warnings: warnOfCut(cut, request.length, encoder),
    sampling: {
      input: (i) => texts[i]!,
      expected: (i) => labels[i]!,
      predict: (tuned, indices, runtime) => predictClasses(tuned, subset(data, indices), classes, runtime),
    },
    write: (tuned) => writeModelFolder(folder, labeled, addUsage(tuned, { task: 'text-classification', classes })),
  }
}

/** Prepares the training of a text encoder on rows { anchor, positive } with negative or score. */
export async function prepareEmbed(request: EmbedRequest): Promise<ModelTask> {
  const encoder = await openEncoder(request.folder, request.dtype)
  const embedding = findEmbedding(request.pooling, encoder.model, join(request.folder, encoder.file))
  const rows = await readRows(request.data)
  const [hasScores, hasNegatives] = [allHave('score', rows, request.data), allHave('negative', rows, request.data)]
  if (hasScores && request.scale !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `--scale is for rows without score, and those of ${request.data} have one: omit it`,
    )
  const passes = ['anchor', 'positive', ...(hasNegatives && !hasScores ? ['negative'] : [])]
  const parts = passes.map((pass) => {
    const texts = rows.map((row, i) => textOf(row, pass, request.data, i))
    return encodeTexts(encoder, texts, request.length, `${pass}/`)
  })
  const scores = hasScores && rows.map((row, i) => scoreOf(row, request.data, i))
  const columns = Object.assign({}, ...parts.map((part) => part.columns)) as Record<string, ColumnSource>
  const folder = modelFolderOf(request.output)
  const pooled = request.pooling === 'none' ? {} : { pooling: request.pooling }
  const passOptions: PassOptions = { passes, ...pooled }
  const usage: ModelUsage = { task: 'feature-extraction', ...pooled }
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
      loss: hasScores
        ? cosineSimilarity({ embedding })
        : multipleNegatives({ embedding, ...(request.scale !== undefined && { scale: request.scale }) }),
      metrics: hasScores ? [mae()] : [accuracy(), topK(5)],
      ...passOptions,
    },
    rates,
    about: hasScores
      ? 'similarity of anchor and positive (score)'
      : `every anchor with its positive against the others of the batch${passes.length > 2 ? ' and all negatives' : ''}`,
    outputs: [folder],
    warnings: [
      ...warnOfCut(
        parts.reduce((sum, { cut }) => sum + cut, 0),
        request.length,
        encoder,
      ),
      ...(hasScores ? [] : warnOfRepeats(rows, request.data)),
      ...(hasScores && hasNegatives ? [`${request.data}: rows with a score are trained without their 'negative'`] : []),
    ],
    sampling: {
      input: (i) => String(rows[i]!['anchor']),
      expected: (i) => `${rows[i]!['positive']}${scores ? ` (score ${scores[i]})` : ''}`,
      async predict(tuned, indices, runtime) {
        const similarities = await compareEmbeddings(
          tuned,
          subset(data, indices),
          { ...passOptions, embedding },
          runtime,
        )
        return similarities.map((row, i) => {
          // With scores, the pair itself; otherwise the positive that a search would find.
          const nearest = scores ? i : row.indexOf(Math.max(...row))
          return `${rows[indices[nearest]!]!['positive']} (cosine ${row[nearest]!.toFixed(2)})`
        })
      },
    },
    write: (tuned) => writeModelFolder(folder, encoder, addUsage(tuned, usage)),
  }
}

/** Warns of rows with the same positive: in one batch, that of each counts as a wrong answer to the others. */
function warnOfRepeats(rows: readonly Row[], path: string): string[] {
  const counts = new Map<unknown, number>()
  for (const { positive } of rows) counts.set(positive, (counts.get(positive) ?? 0) + 1)
  const repeated = rows.filter(({ positive }) => counts.get(positive)! > 1).length
  if (repeated === 0) return []
  return [
    `${path}: ${repeated} of ${rows.length} rows have the positive of another row, which counts as a wrong answer if both are in a batch: a smaller --batch-size makes this rarer, and one row per positive, or rows with a score, avoid it`,
  ]
}

/** Whether all rows have a field. Throws `invalid-data` if some have it only. */
function allHave(name: string, rows: readonly Row[], path: string): boolean {
  const has = rows.map((row) => (getOwn(row, name) ?? undefined) !== undefined)
  const other = has.indexOf(!has[0])
  if (other < 0) return has[0]!
  const [given, missing] = has[0] ? [0, other] : [other, 0]
  throw new OnnxIreError(
    'invalid-data',
    `${path}: row ${given + 1} has a '${name}', and row ${missing + 1} has none: give it in all rows, or in none`,
  )
}

/** The first output with scores of the whole text. Throws `invalid-model` if there is none. */
function findScores(model: Model, file: string): string {
  const { outputs } = importGraph(model)
  const found = findOutput(outputs, 2)
  if (found !== undefined) return found
  throw new OnnxIreError(
    'invalid-model',
    `tune classify takes a model with scores of the whole text, [N, classes], and ${file} has ${listOutputs(outputs)}: export the model with a classifier (optimum-cli export onnx --task text-classification), or train its embeddings by tune embed`,
  )
}

/**
 * The output that becomes the embedding: the first one of the form that the kind of pooling takes. Throws
 * `invalid-option` if there is none.
 */
function findEmbedding(pooling: EmbedRequest['pooling'], model: Model, file: string): string {
  const { outputs } = importGraph(model)
  const [rank, form, others] = pooling === 'none' ? [2, '[N, D]', 'mean or first'] : [3, '[N, T, D]', 'none']
  const found = findOutput(outputs, rank)
  if (found !== undefined) return found
  throw new OnnxIreError(
    'invalid-option',
    `--pooling ${pooling} is for a model with an output ${form}, and ${file} has ${listOutputs(outputs)}: set --pooling ${others}`,
  )
}

type Outputs = Graph['outputs']

/** The first output of floating-point numbers with a number of axes, or an unknown one. */
const findOutput = (outputs: Outputs, rank: number): string | undefined =>
  [...outputs].find(([, { dtype, shape }]) => isFloat(dtype) && (shape?.length ?? rank) === rank)?.[0]

const listOutputs = (outputs: Outputs): string =>
  [...outputs].map(([name, { shape }]) => `'${name}' ${formatShape(shape)}`).join(', ')

function labelOf(row: Row, name: string, path: string, i: number): string {
  const value = fieldOf(row, name, path, i)
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new OnnxIreError('invalid-data', `${path}: '${name}' of row ${i + 1} must be a text, a number or a boolean`)
}

function scoreOf(row: Row, path: string, i: number): number {
  const value = fieldOf(row, 'score', path, i)
  const score = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  if (typeof score === 'number' && score >= -1 && score <= 1) return score
  throw new OnnxIreError(
    'invalid-data',
    `${path}: 'score' of row ${i + 1} is ${JSON.stringify(value)}; it must be a number from -1 to 1`,
  )
}

/** Names of the model's classes in config.json, by number. */
function namesOf({ id2label }: Readonly<Record<string, unknown>>): string[] | undefined {
  if (!isObject(id2label)) return undefined
  const names = Object.entries(id2label).sort(([a], [b]) => Number(a) - Number(b))
  return names.every(([, name]) => typeof name === 'string') ? names.map(([, name]) => name as string) : undefined
}
