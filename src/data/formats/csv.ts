import { type DType, dtypes, type TypedArray } from '../../ir/dtype.js'
import { sizeOf, type Tensor, type TensorData } from '../../ir/tensor.js'
import { checkBoolean, checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import { fromArrays } from '../arrays.js'
import { ClassNames, type WithClassNames } from '../classes.js'
import type { Dataset } from '../dataset.js'
import type { DataExample } from '../examples.js'
import { type ExampleStream, stream } from '../stream.js'

/** Options of `readCsv`. */
export interface CsvOptions {
  /** Tensors and the columns they are read from: `{ input: '*', label: { columns: 'species', as: 'class' } }`. */
  readonly tensors: Readonly<Record<string, CsvTensor>>
  /** Field delimiter. Default ',', or a tab for files named .tsv. */
  readonly delimiter?: string | undefined
  /** Whether the first record contains the column names; otherwise columns are named '1', '2', ... Default true. */
  readonly header?: boolean | undefined
  /**
   * Treatment of an example with a missing number or class (an empty field, or NA, NaN, null, None): 'error' throws
   * (the default), 'skip' omits the example, and a number replaces missing numbers.
   */
  readonly missing?: 'error' | 'skip' | number | undefined
}

/** Options of `streamCsv`. */
export interface StreamCsvOptions extends CsvOptions {
  /** Size of the shuffle buffer, in examples. Default 1024. */
  readonly shuffleBuffer?: number | undefined
}

const csvOptionNames = ['tensors', 'delimiter', 'header', 'missing']

/** CSV file (RFC 4180) that a platform reads; every call of `records` reads it again. */
export interface CsvFile {
  /** Path for messages; the default delimiter of .tsv is a tab. */
  readonly path: string
  /** Reads the records, including the header; all have the same number of fields. */
  records(delimiter: string): AsyncIterable<readonly string[]>
  /** Line on which a record ends; records are numbered from 0, including the header. */
  lineOf(delimiter: string, record: number): Promise<number>
}

/** Reads a CSV file into a data set in memory, with the class names it contains. */
export async function parseCsvDataset(source: CsvFile, options: CsvOptions): Promise<Dataset & WithClassNames> {
  const { path } = source
  const file = await openCsv(source, options, csvOptionNames)
  const columns = file.plans.map((plan) => ({ plan, elements: new ArrayBuilder(plan.dtype) }))
  let rows = 0
  const append = (record: readonly string[]) => {
    for (const { plan, elements } of columns)
      for (const field of plan.columns) elements.push(parseField(plan, field, record, file.substitute))
  }
  for await (const _ of file.records(append)) rows++
  if (rows === 0) throw new OnnxIreError('invalid-data', `${path}: it has no usable record`)
  const tensors: Record<string, Tensor> = emptyRecord()
  for (const { plan, elements } of columns) {
    const data = elements.elements()
    if (plan.classes && data instanceof BigInt64Array) renumber(data, plan.classes.sorted().positions)
    tensors[plan.name] = { dtype: plan.dtype, dims: [rows, ...plan.dims], data }
  }
  return { ...fromArrays(tensors), classes: classNamesOf(file.plans) }
}

/** Creates a stream of the examples of a CSV file, with the class names it contains. */
export async function parseCsvStream(
  source: CsvFile,
  options: StreamCsvOptions,
): Promise<ExampleStream & WithClassNames> {
  const { path } = source
  const file = await openCsv(source, options, [...csvOptionNames, 'shuffleBuffer'])
  const { shuffleBuffer } = options
  const collecting = file.plans.filter(({ classes }) => classes && !classes.given)
  let length: number | undefined
  if (collecting.length > 0) {
    length = 0
    for await (const _ of file.records((record) => toExample(collecting, record, file.substitute))) length++
    if (length === 0) throw new OnnxIreError('invalid-data', `${path}: it has no usable record`)
  }
  const classes = classNamesOf(file.plans)
  const plans = file.plans.map((plan) => ({
    ...plan,
    classes: plan.classes && new ClassNames(getOwn(classes, plan.name)),
  }))
  const examples = () => file.records((record) => toExample(plans, record, file.substitute))
  return { ...stream(examples, { shuffleBuffer, length }), classes }
}

interface OpenCsv {
  readonly plans: readonly CsvTensorPlan[]
  /** Replacement of missing numbers. */
  readonly substitute: number | undefined
  /** Converts each record; errors of a field get the file and the line. */
  records<T>(convert: (record: readonly string[]) => T): AsyncGenerator<T, void, undefined>
}

/** Checks the options, against each other and against the header. */
async function openCsv(source: CsvFile, options: CsvOptions, names: readonly string[]): Promise<OpenCsv> {
  const { path } = source
  checkNames('csv', options, names)
  const { header = true, missing = 'error', delimiter = path.endsWith('.tsv') ? '\t' : ',' } = options
  checkBoolean('csv', 'header', header)
  if (typeof delimiter !== 'string' || delimiter === '')
    throw invalidOption('csv', 'delimiter', delimiter, 'a non-empty string')
  if (typeof missing === 'number')
    checkNumber('csv', 'missing', missing, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
  else if (missing !== 'error' && missing !== 'skip')
    throw invalidOption('csv', 'missing', missing, "'error', 'skip' or a number")
  const plans = planTensors(await readColumnNames(source, delimiter, header), options.tensors)
  const integers = plans.find(({ as }) => as === 'integer')
  if (integers && typeof missing === 'number' && !Number.isSafeInteger(missing))
    throw invalidOption('csv', 'missing', missing, `an integer, because the tensor '${integers.name}' has integers`)
  return {
    plans,
    substitute: typeof missing === 'number' ? missing : undefined,
    async *records(convert) {
      let number = -1
      for await (const record of source.records(delimiter)) {
        number++
        if ((number === 0 && header) || (missing === 'skip' && hasMissing(plans, record))) continue
        try {
          yield convert(record)
        } catch (cause) {
          if (!(cause instanceof FieldError)) throw cause
          const line = await source.lineOf(delimiter, number)
          throw new OnnxIreError('invalid-data', `${path}:${line}: ${cause.message}`, { cause })
        }
      }
    },
  }
}

async function readColumnNames(source: CsvFile, delimiter: string, header: boolean): Promise<readonly string[]> {
  const { path } = source
  for await (const record of source.records(delimiter)) {
    if (!header) return record.map((_, i) => String(i + 1))
    const seen = new Set<string>()
    const twice = record.find((name) => seen.size === seen.add(name).size)
    if (twice === undefined) return record
    throw new OnnxIreError('invalid-data', `${path}:1: two columns have the name '${twice}'; rename one of them`)
  }
  throw new OnnxIreError('invalid-data', `${path}: the file is empty`)
}

function toExample(
  plans: readonly CsvTensorPlan[],
  record: readonly string[],
  substitute: number | undefined,
): DataExample {
  const example: Record<string, Tensor> = emptyRecord()
  for (const plan of plans) {
    const { name, dtype, dims, columns } = plan
    const element = (i: number) => parseField(plan, columns[i]!, record, substitute)
    if (dtype === 'string') {
      example[name] = { dtype, dims, data: columns.map((_, i) => String(element(i))) }
      continue
    }
    const data: TypedArray = dtype === 'int64' ? new BigInt64Array(columns.length) : new Float32Array(columns.length)
    for (let i = 0; i < data.length; i++) data[i] = element(i) as number // a bigint for int64
    example[name] = { dtype, dims, data }
  }
  return example
}

const classNamesOf = (plans: readonly CsvTensorPlan[]): WithClassNames['classes'] =>
  Object.fromEntries(plans.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().names]] : [])))

/** Replaces each class number by its position in the sorted class names. */
function renumber(numbers: BigInt64Array, positions: readonly number[]): void {
  for (let i = 0; i < numbers.length; i++) numbers[i] = BigInt(positions[Number(numbers[i])]!)
}

/** Tensor that is read from columns of a CSV file. */
export interface CsvColumns {
  /** Names of one or several columns; the pattern `*` matches any characters, in columns that no other tensor names. */
  readonly columns: NamePatterns
  /**
   * Type of the elements: 'number' (default) for float32, 'integer' for int64, 'class' for the int64 number of a class
   * name, 'text' for strings.
   */
  readonly as?: 'number' | 'integer' | 'class' | 'text' | undefined
  /** Class names in the order of their numbers, for 'class'. Default: the sorted names of the file. */
  readonly classes?: readonly string[] | undefined
  /** Dims of one example. Default: [] for a single named column, else [columns]. */
  readonly dims?: readonly number[] | undefined
}

/** Columns of a tensor; a name or pattern alone gives float32 numbers. */
export type CsvTensor = NamePatterns | CsvColumns

/** Resolved tensor of a CSV file: its type, and its fields in a record. */
interface CsvTensorPlan {
  readonly name: string
  readonly dtype: DType
  /** Dims of one example. */
  readonly dims: readonly number[]
  readonly columns: readonly CsvField[]
  readonly as: NonNullable<CsvColumns['as']>
  readonly classes: ClassNames | null
}

interface CsvField {
  readonly name: string
  /** Index of the field in a record, from 0. */
  readonly at: number
}

const kinds = ['number', 'integer', 'class', 'text']
const dtypeOf = { number: 'float32', integer: 'int64', class: 'int64', text: 'string' } as const

/**
 * Resolves the fields of every tensor from the header.
 * @throws 'invalid-option' for columns that the header does not have
 */
function planTensors(header: readonly string[], tensors: Readonly<Record<string, CsvTensor>>): CsvTensorPlan[] {
  const full = Object.entries(tensors).map(([name, given]) => [name, toColumns(given)] as const)
  if (full.length === 0) throw new OnnxIreError('invalid-option', "csv: option 'tensors' must name at least one tensor")
  const named = new Set(full.flatMap(([, { columns }]) => [columns].flat()))
  const at = new Map(header.map((name, i) => [name, i]))
  const free = header.filter((name) => !named.has(name))
  return full.map(([name, options]) => {
    const owner = `csv: tensor '${name}'`
    checkNames(owner, options, ['columns', 'as', 'classes', 'dims'])
    const { as = 'number', classes } = options
    if (!kinds.includes(as)) throw invalidOption(owner, 'as', as, `one of ${kinds.join(', ')}`)
    if (classes && as !== 'class') throw invalidOption(owner, 'classes', classes, "omitted unless 'as' is 'class'")
    const columns = [options.columns].flat().flatMap((pattern) => {
      if (at.has(pattern)) return [pattern]
      return pattern.includes('*')
        ? matchNames(pattern, free, `column not used by another tensor, for '${name}',`)
        : matchNames(pattern, header, `column for '${name}'`)
    })
    const single = typeof options.columns === 'string' && at.has(options.columns)
    const dims = options.dims ?? (single ? [] : [columns.length])
    if (sizeOf(dims) !== columns.length)
      throw invalidOption(owner, 'dims', `[${dims.join(', ')}]`, `of ${columns.length} elements, one per column`)
    return {
      name,
      dtype: dtypeOf[as],
      dims,
      as,
      columns: columns.map((column) => ({ name: column, at: at.get(column)! })),
      classes: as === 'class' ? new ClassNames(classes) : null,
    }
  })
}

const toColumns = (given: CsvTensor): CsvColumns =>
  typeof given === 'object' && 'columns' in given ? given : { columns: given }

/** Texts that usual table exports write for a missing value. */
const missingTexts = new Set(['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None'])

const isMissing = ({ as }: CsvTensorPlan, text: string) =>
  as !== 'text' && (as === 'class' ? text === '' : missingTexts.has(text))

/** Whether a field of some tensor is missing. */
const hasMissing = (plans: readonly CsvTensorPlan[], record: readonly string[]): boolean =>
  plans.some((plan) => plan.columns.some(({ at }) => isMissing(plan, record[at]!)))

/** Error of a field whose text does not fit its tensor; the reader adds the file and the line. */
class FieldError extends Error {}

/**
 * Parses a field to an element: a number, a bigint for int64, or a string.
 * @param substitute replacement of a missing number
 */
function parseField(
  plan: CsvTensorPlan,
  { name, at }: CsvField,
  record: readonly string[],
  substitute: number | undefined,
): number | bigint | string {
  const text = record[at]!
  const { as, classes } = plan
  if (as === 'text') return text
  const toError = (problem: string) => new FieldError(`column '${name}' ${problem}`)
  if (isMissing(plan, text)) {
    if (substitute === undefined || classes)
      throw toError(`is ${text === '' ? 'empty' : `'${text}'`}: fill it in, or set option 'missing'`)
    return as === 'integer' ? BigInt(substitute) : substitute
  }
  if (classes) return BigInt(classes.numberOf(text, toError))
  const value = Number(text)
  if (!Number.isFinite(value) || /^\s*(?:$|0[xob])/i.test(text)) throw toError(`is '${text}', not a number`)
  if (as === 'number') return value
  if (!Number.isSafeInteger(value)) throw toError(`is '${text}', not an integer`)
  return BigInt(value)
}

/** Builder of an array of unknown length; the capacity doubles when it is full. */
class ArrayBuilder {
  readonly #strings: string[] = []
  #buffer: TypedArray | null
  #used = 0

  constructor(dtype: DType) {
    const { array: Elements } = dtypes[dtype]
    this.#buffer = Elements && new Elements(1024)
  }

  push(value: number | bigint | string): void {
    if (typeof value === 'string') {
      this.#strings.push(value)
      return
    }
    const buffer = this.#buffer!
    if (this.#used === buffer.length) {
      const Elements = buffer.constructor as new (length: number) => TypedArray
      this.#buffer = new Elements(2 * buffer.length)
      new Uint8Array(this.#buffer.buffer).set(new Uint8Array(buffer.buffer))
    }
    this.#buffer![this.#used++] = value
  }

  /** Elements pushed so far. */
  elements(): TensorData {
    return this.#buffer ? this.#buffer.slice(0, this.#used) : this.#strings
  }
}

/** Error of csv-parse for an invalid record. */
export interface CsvParseError {
  readonly code: string
  readonly message: string
  /** Offset of the start of the invalid field, or of the end of a record of the wrong length. */
  readonly bytes?: number
  readonly record?: readonly string[]
}

/** Options of csv-parse on all platforms. A record of more than 16 MiB is most likely caused by an unclosed quote. */
export const csvParserOptions = { bom: true, skip_empty_lines: true, max_record_size: 2 ** 24 } as const

const reasons: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quote is not closed',
  CSV_MAX_RECORD_SIZE: 'a record has more than 16 MiB; most likely a quote is not closed',
  CSV_INVALID_CLOSING_QUOTE: 'text follows a closing quote; quotes inside a quoted field must be doubled',
  INVALID_OPENING_QUOTE:
    'a quote is in the middle of a field; a field with quotes must be quoted, and its quotes doubled',
}

/** Explains an error of csv-parse: its offset in the file, and its reason in words. */
export function explainCsvError({ code, message, bytes = 0, record = [] }: CsvParseError): {
  offset: number
  reason: string
} {
  if (code === 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH')
    return {
      offset: bytes - 1,
      reason: `the record has ${record.length} fields, but the first one has another number; check the delimiter, and quote fields that contain it`,
    }
  return { offset: bytes, reason: getOwn(reasons, code) ?? message }
}

/**
 * Counter of the lines before an offset, fed block by block. csv-parse's own count treats CRLF in quotes as two lines.
 */
export class LineCounter {
  line = 1
  #left: number
  #after = 0

  constructor(offset: number) {
    this.#left = offset
  }

  /** Counts the lines of the next block; returns whether the offset is in a later block. */
  advance(block: Uint8Array): boolean {
    for (const byte of block.subarray(0, Math.min(this.#left, block.length))) {
      if (byte === 10 || this.#after === 13) this.line++
      this.#after = byte
    }
    this.#left -= block.length
    return this.#left > 0
  }
}
