import type { ScoreKind } from '../../analysis/snippet/score-kind.js'
import { csvField } from '../../data/formats/csv-field.js'
import { isFloat } from '../../ir/dtype.js'
import { numbersOf } from '../../ir/leaf.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import type { Prediction } from '../../train/predict.js'
import { OnnxIreError } from '../../util/errors.js'
import { shortenText } from '../format.js'
import { type ReadText, readTexts } from './read-texts.js'
import { answerLabels, hasLabels, positionsOf, type TopClass, topClasses } from './top-classes.js'

/** Content of a file of predictions. */
export interface PredictionFormat {
  /** Meaning of the scores, to write top classes in place of outputs; null to write the outputs. */
  readonly scores: ScoreKind | null
  /** Axis of the classes, as for `topClasses`. */
  readonly classAxis: number | undefined
  /** Whether every score is a yes or no of its own. */
  readonly isBinary: boolean
  /** Class of the blank of scores that are steps of `ctc`, whose texts are written; undefined for other scores. */
  readonly blank: number | undefined
  /** Names of the classes, by class number, or of the labels. */
  readonly classNames: readonly string[] | undefined
  /** Origin of each example, if every example is a file or a text. */
  readonly origins: Origins | undefined
  /** Position of each example in the data of which the examples are a part; undefined if they are all. */
  readonly positions: Uint32Array | undefined
}

/** Paths or texts of examples. */
export interface Origins {
  readonly kind: 'file' | 'text'
  readonly names: readonly string[]
}

/** Writes a line of JSON per example. */
export async function* writeJsonLines(
  predictions: AsyncIterable<Prediction>,
  format: PredictionFormat,
): AsyncGenerator<Uint8Array> {
  for await (const { indices, outputs } of predictions) {
    const columns = Object.entries(outputs).map(([name, tensor]) => [
      name,
      toColumn(name, tensor, indices.length, format),
    ])
    const lines = Array.from(indices, (index, i) => {
      const values = columns.map(([name, column]) => [name, (column as readonly unknown[])[i]] as const)
      const content = format.scores === null ? { outputs: Object.fromEntries(values) } : values[0]![1]
      return `${JSON.stringify({ index: positionOf(format, index), ...originOf(format, index), ...Object(content) })}\n`
    })
    yield Buffer.from(lines.join(''))
  }
}

/** Writes a line of text per example: its file, text or index, and its class with the probability. */
export async function* writeTopClasses(
  predictions: AsyncIterable<Prediction>,
  format: PredictionFormat,
): AsyncGenerator<Uint8Array> {
  for await (const { indices, outputs } of predictions) {
    const [[name, tensor]] = Object.entries(outputs) as [[string, Tensor]]
    checkLeadingAxis(name, tensor, indices.length)
    const texts = format.blank === undefined ? undefined : textsOf(name, tensor, format)
    const labels = format.isBinary && hasLabels(tensor) ? tensor.dims.at(-1)! : 0
    const top = texts
      ? []
      : labels
        ? answerLabels(name, tensor, format.scores!)
        : topClasses(name, tensor, format.scores!, format.classAxis)
    const positions = top.length / Math.max(1, indices.length)
    const lines = Array.from(indices, (index, i) => {
      const own = top.slice(i * positions, (i + 1) * positions)
      const classes = labels ? listLabels(own, labels, format) : own.map((each) => describeClass(each, format))
      const { kind, names } = format.origins ?? {}
      const name = names?.[index] ?? `example ${positionOf(format, index)}`
      if (texts) return `${name}: ${describeText(texts[i]!)}\n`
      return `${kind === 'text' ? shortenText(name) : name}: ${classes.join(labels ? '; ' : ', ')}\n`
    })
    yield Buffer.from(lines.join(''))
  }
}

const describeClass = ({ class: number, probability }: TopClass, { classNames }: PredictionFormat): string =>
  number === null
    ? 'no class (its probability is NaN)'
    : `${classNames?.[number] ?? `class ${number}`} ${(100 * probability).toFixed(1)} %`

const describeText = ({ text, probability }: ReadText): string =>
  text === '' ? 'no text' : `${text} ${probability === null ? '' : `${(100 * probability).toFixed(1)} %`}`

const textsOf = (name: string, tensor: Tensor, { scores, blank, classNames }: PredictionFormat): ReadText[] =>
  readTexts(name, tensor, { kind: scores!, blank: blank!, classNames })

const positionOf = ({ positions }: PredictionFormat, index: number): number => positions?.[index] ?? index

const originOf = ({ origins }: PredictionFormat, index: number) =>
  origins ? { [origins.kind]: origins.names[index] } : {}

/** The labels of every position that are not answered with no, with the probability of yes. */
function listLabels(answers: readonly TopClass[], labels: number, format: PredictionFormat): string[] {
  const lists = Array.from({ length: answers.length / labels }, (_, position) =>
    answers.slice(position * labels, (position + 1) * labels).flatMap(({ class: answer, probability }, i) => {
      if (answer === 0) return []
      const percent = answer === null ? '(its probability is NaN)' : `${(100 * probability).toFixed(1)} %`
      return [`${labelName(i, format)} ${percent}`]
    }),
  )
  return lists.map((list) => list.join(', ') || 'none')
}

const labelName = (label: number, { classNames }: PredictionFormat): string => classNames?.[label] ?? `label ${label}`

/** The content per example of an output: the elements as nested lists, or the top class. */
function toColumn(name: string, tensor: Tensor, examples: number, format: PredictionFormat): readonly unknown[] {
  checkLeadingAxis(name, tensor, examples)
  const dims = tensor.dims.slice(1)
  if (format.scores === null) return nest(toJsonValues(tensor), [examples, ...dims]) as readonly unknown[]
  if (format.blank !== undefined)
    return textsOf(name, tensor, format).map(({ text, probability }) => ({
      text,
      probability: probability && toJsonNumber(probability),
    }))
  if (format.isBinary && hasLabels(tensor)) {
    const labels = dims.at(-1)!
    const answers = answerLabels(name, tensor, format.scores).map(({ class: answer, probability }, i) => ({
      ...(format.classNames ? { name: labelName(i % labels, format) } : {}),
      ...{ class: answer, probability: toJsonNumber(probability) },
    }))
    return (nest(answers, tensor.dims) as readonly unknown[]).map((labels) => ({ labels }))
  }
  const top = topClasses(name, tensor, format.scores, format.classAxis).map((each) => withName(each, format))
  if (dims.length === 1) return top
  // The output has a class per position.
  const positions = nest(top, positionsOf(name, tensor.dims, format.classAxis)) as readonly unknown[]
  return positions.map((classes) => ({ classes }))
}

const withName = ({ class: number, probability }: TopClass, { classNames }: PredictionFormat) => ({
  class: number,
  ...(number === null || classNames?.[number] === undefined ? {} : { name: classNames[number] }),
  probability: toJsonNumber(probability),
})

function nest(values: readonly unknown[], dims: readonly number[]): unknown {
  const [length = 0, ...rest] = dims
  if (dims.length === 0) return values[0]
  if (rest.length === 0) return values
  const width = sizeOf(rest)
  return Array.from({ length }, (_, i) => nest(values.slice(i * width, (i + 1) * width), rest))
}

/**
 * Writes a header and a CSV record per example: a column per element of an output, or the class and its probability.
 */
export async function* writeCsv(
  predictions: AsyncIterable<Prediction>,
  format: PredictionFormat,
): AsyncGenerator<Uint8Array> {
  let header: readonly string[] | undefined
  for await (const { indices, outputs } of predictions) {
    const tensors = Object.entries(outputs)
    for (const [name, tensor] of tensors) checkLeadingAxis(name, tensor, indices.length)
    const columns = tensors.flatMap(([name, tensor]) => csvColumns(name, tensor, format))
    const { origins } = format
    const names = ['index', ...(origins ? [origins.kind] : []), ...columns.map(({ name }) => name)]
    if (header === undefined) yield Buffer.from(formatRecord(names))
    else if (names.join('\n') !== header.join('\n'))
      throw new OnnxIreError(
        'invalid-data',
        `the outputs of example ${positionOf(format, indices[0]!)} have another shape than the outputs before; write them as .jsonl`,
      )
    header = names
    const records = Array.from(indices, (index, i) =>
      formatRecord([
        positionOf(format, index),
        ...(origins ? [origins.names[index]] : []),
        ...columns.map(({ values }) => values[i]),
      ]),
    )
    yield Buffer.from(records.join(''))
  }
}

interface CsvColumn {
  readonly name: string
  /** One per example. */
  readonly values: readonly unknown[]
}

function csvColumns(name: string, tensor: Tensor, format: PredictionFormat): CsvColumn[] {
  const dims = tensor.dims.slice(1)
  if (format.scores === null) {
    const width = sizeOf(dims)
    const values = toJsonValues(tensor)
    return Array.from({ length: width }, (_, k) => ({
      name: dims.length === 0 ? name : `${name}[${indicesOf(k, dims).join(',')}]`,
      values: Array.from({ length: tensor.dims[0]! }, (_, i) => values[i * width + k]),
    }))
  }
  if (format.blank !== undefined) {
    const texts = textsOf(name, tensor, format)
    return [
      { name: 'text', values: texts.map(({ text }) => text) },
      {
        name: 'probability',
        values: texts.map(({ probability }) => (probability === null ? '' : toJsonNumber(probability))),
      },
    ]
  }
  if (dims.length !== 1)
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' has several positions per example; write the classes as .jsonl`,
    )
  if (format.isBinary && hasLabels(tensor)) {
    const answers = answerLabels(name, tensor, format.scores)
    return Array.from({ length: dims[0]! }, (_, label) => {
      const own = answers.filter((_, i) => i % dims[0]! === label)
      return [
        { name: labelName(label, format), values: own.map((each) => each.class ?? '') },
        {
          name: `${labelName(label, format)} probability`,
          values: own.map(({ probability }) => toJsonNumber(probability)),
        },
      ]
    }).flat()
  }
  const top = topClasses(name, tensor, format.scores, format.classAxis)
  const named = { name: 'name', values: top.map((each) => format.classNames?.[each.class ?? -1] ?? '') }
  return [
    { name: 'class', values: top.map((each) => each.class ?? '') },
    ...(format.classNames ? [named] : []),
    { name: 'probability', values: top.map(({ probability }) => toJsonNumber(probability)) },
  ]
}

/** Indices of the element at row-major position `k`. */
function indicesOf(k: number, dims: readonly number[]): number[] {
  const indices: number[] = []
  let rest = k
  for (const dim of dims.toReversed()) {
    indices.unshift(rest % dim)
    rest = Math.floor(rest / dim)
  }
  return indices
}

const formatRecord = (fields: readonly unknown[]): string =>
  `${fields.map((field) => csvField(String(field ?? ''))).join(',')}\n`

function checkLeadingAxis(name: string, { dims }: Tensor, examples: number): void {
  if (dims[0] === examples) return
  throw new OnnxIreError(
    'invalid-data',
    `the output '${name}' is [${dims.join(', ')}] for a batch of ${examples} examples: its leading axis is not the batch; exclude it with --outputs, or, if it is [T, N, C] for ctc, give a recipe whose loss has timeFirst`,
  )
}

/** Elements of an output as JSON values; numbers that JSON cannot hold (NaN, Infinity, large int64) become strings. */
function toJsonValues(tensor: Tensor): (number | string | boolean)[] {
  const { dtype, data } = tensor
  if (dtype === 'string') return [...data].map(String)
  if (dtype === 'bool') return [...data].map((bit) => bit === 1)
  if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    return Array.from(data, (x) => (Number.isSafeInteger(Number(x)) ? Number(x) : String(x)))
  const numbers = numbersOf(tensor)
  if (!isFloat(dtype)) return numbers
  return numbers.map((x) => (dtype === 'float64' && Number.isFinite(x) ? x : toJsonNumber(x)))
}

/** A number as `shortenNumber` rounds it; NaN and infinity as a string. */
const toJsonNumber = (x: number): number | string => (Number.isFinite(x) ? shortenNumber(x) : String(x))

/** Rounds to the fewest digits that identify a float32; nine digits always do. */
function shortenNumber(x: number): number {
  for (const digits of [6, 7, 8]) {
    const rounded = Number(x.toPrecision(digits))
    if (Math.fround(rounded) === x) return rounded
  }
  return Number(x.toPrecision(9))
}
