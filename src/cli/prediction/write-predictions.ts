import { isFloat } from '../../ir/dtype.js'
import { numbersOf } from '../../ir/leaf.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import type { Prediction } from '../../train/predict.js'
import { OnnxIreError } from '../../util/errors.js'
import { type ScoreKind, type TopClass, topClasses } from './top-classes.js'

/** What is written of an example. */
export interface Form {
  /** How to read scores: top classes are written in place of outputs; null for the outputs themselves. */
  readonly classes: ScoreKind | null
  /** The names of classes, by number. */
  readonly names: readonly string[] | undefined
  /** The file that each example is. */
  readonly files: readonly string[] | undefined
}

/** A line of JSON per example. */
export async function* jsonLines(predictions: AsyncIterable<Prediction>, form: Form): AsyncGenerator<Uint8Array> {
  for await (const { indices, outputs } of predictions) {
    const columns = Object.entries(outputs).map(([name, tensor]) => [
      name,
      columnOf(name, tensor, indices.length, form),
    ])
    const lines = Array.from(indices, (index, i) => {
      const values = columns.map(([name, column]) => [name, (column as readonly unknown[])[i]] as const)
      const told = form.classes === null ? { outputs: Object.fromEntries(values) } : values[0]![1]
      return `${JSON.stringify({ index, ...fileOf(form, index), ...Object(told) })}\n`
    })
    yield Buffer.from(lines.join(''))
  }
}

const fileOf = ({ files }: Form, index: number) => (files ? { file: files[index] } : {})

/** What is written of every example: its part of the output as nested lists, or its top class. */
function columnOf(name: string, tensor: Tensor, examples: number, form: Form): readonly unknown[] {
  checkExamples(name, tensor, examples)
  const dims = tensor.dims.slice(1)
  if (form.classes === null) return nested(valuesOf(tensor), [examples, ...dims]) as readonly unknown[]
  const top = topClasses(name, tensor, form.classes).map((each) => withName(each, form))
  if (dims.length === 1) return top
  // A class per position.
  const places = nested(top, [examples, ...dims.slice(0, -1)]) as readonly unknown[]
  return places.map((classes) => ({ classes }))
}

const withName = ({ class: number, probability }: TopClass, { names }: Form) => ({
  class: number,
  ...(names?.[number] === undefined ? {} : { name: names[number] }),
  probability: short(probability),
})

function nested(values: readonly unknown[], dims: readonly number[]): unknown {
  const [length = 0, ...rest] = dims
  if (dims.length === 0) return values[0]
  if (rest.length === 0) return values
  const width = sizeOf(rest)
  return Array.from({ length }, (_, i) => nested(values.slice(i * width, (i + 1) * width), rest))
}

/** A record per example, under a header: an element of an output, or a class and its probability, to a column. */
export async function* csvRecords(predictions: AsyncIterable<Prediction>, form: Form): AsyncGenerator<Uint8Array> {
  let header: readonly string[] | undefined
  for await (const { indices, outputs } of predictions) {
    const tensors = Object.entries(outputs)
    for (const [name, tensor] of tensors) checkExamples(name, tensor, indices.length)
    const columns = tensors.flatMap(([name, tensor]) => csvColumns(name, tensor, form))
    const names = ['index', ...(form.files ? ['file'] : []), ...columns.map(({ name }) => name)]
    if (header === undefined) yield Buffer.from(recordOf(names))
    else if (names.join('\n') !== header.join('\n'))
      throw new OnnxIreError(
        'invalid-data',
        `the outputs of example ${indices[0]} are of another shape than those before; write them as .jsonl`,
      )
    header = names
    const records = Array.from(indices, (index, i) =>
      recordOf([index, ...(form.files ? [form.files[index]] : []), ...columns.map(({ values }) => values[i])]),
    )
    yield Buffer.from(records.join(''))
  }
}

interface CsvColumn {
  readonly name: string
  /** One per example. */
  readonly values: readonly unknown[]
}

function csvColumns(name: string, tensor: Tensor, form: Form): CsvColumn[] {
  const dims = tensor.dims.slice(1)
  if (form.classes === null) {
    const width = sizeOf(dims)
    const values = valuesOf(tensor)
    return Array.from({ length: width }, (_, k) => ({
      name: dims.length === 0 ? name : `${name}[${placeOf(k, dims).join(',')}]`,
      values: Array.from({ length: tensor.dims[0]! }, (_, i) => values[i * width + k]),
    }))
  }
  if (dims.length !== 1)
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' has classes for each of several positions of an example; write them as .jsonl`,
    )
  const top = topClasses(name, tensor, form.classes)
  const named = { name: 'name', values: top.map((each) => form.names?.[each.class] ?? '') }
  return [
    { name: 'class', values: top.map((each) => each.class) },
    ...(form.names ? [named] : []),
    { name: 'probability', values: top.map(({ probability }) => short(probability)) },
  ]
}

/** The indices of element `k`, in row-major order. */
function placeOf(k: number, dims: readonly number[]): number[] {
  const place: number[] = []
  let rest = k
  for (const dim of dims.toReversed()) {
    place.unshift(rest % dim)
    rest = Math.floor(rest / dim)
  }
  return place
}

/** RFC 4180. */
const recordOf = (fields: readonly unknown[]): string =>
  `${fields.map((field) => (/[",\r\n]/.test(String(field)) ? `"${String(field).replaceAll('"', '""')}"` : field)).join(',')}\n`

function checkExamples(name: string, { dims }: Tensor, examples: number): void {
  if (dims[0] === examples) return
  throw new OnnxIreError(
    'invalid-data',
    `the output '${name}' is [${dims.join(', ')}] for ${examples} examples: its leading axis does not count them; leave it out with --outputs`,
  )
}

/** An output's elements as JSON has them: numbers, true and false, texts; what JSON has no number for as a text. */
function valuesOf(tensor: Tensor): (number | string | boolean)[] {
  const { dtype, data } = tensor
  if (dtype === 'string') return [...data].map(String)
  if (dtype === 'bool') return [...data].map((bit) => bit === 1)
  if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    return Array.from(data, (x) => (Number.isSafeInteger(Number(x)) ? Number(x) : String(x)))
  const numbers = numbersOf(tensor)
  if (!isFloat(dtype)) return numbers
  return numbers.map((x) => (Number.isFinite(x) ? (dtype === 'float64' ? x : short(x)) : String(x)))
}

/** The fewest digits that tell a float32 from the next; nine always do. */
function short(x: number): number {
  for (const digits of [6, 7, 8]) {
    const rounded = Number(x.toPrecision(digits))
    if (Math.fround(rounded) === x) return rounded
  }
  return Number(x.toPrecision(9))
}
