import { type DType, dtypes, type TypedArray } from '../../ir/dtype.js'
import { sizeOf, type Tensor, type TensorData } from '../../ir/tensor.js'
import { checkBoolean, checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { fromArrays } from '../arrays.js'
import { ClassNames, type WithClassNames } from '../class-names.js'
import type { Dataset } from '../dataset.js'
import type { DataExample } from '../examples.js'
import { type ExampleStream, stream } from '../stream.js'

/** Options of `readCsv`. */
export interface CsvOptions {
  /** Which columns make which tensor: `{ input: '*', label: { columns: 'species', as: 'class' } }`. */
  readonly tensors: Readonly<Record<string, CsvTensor>>
  /** Default ',', and a tab for files named .tsv. */
  readonly delimiter?: string | undefined
  /** Whether the first record names the columns; else they are named '1', '2', ... Default true. */
  readonly header?: boolean | undefined
  /**
   * What becomes of an example of which a field is empty (or NA, NaN, null, None) where a number or class is to be: it is
   * refused ('error', the default) or left out ('skip'), or this number takes the place of missing numbers.
   */
  readonly missing?: 'error' | 'skip' | number | undefined
}

/** Options of `streamCsv`. */
export interface StreamCsvOptions extends CsvOptions {
  /** Examples to shuffle among. Default 1024. */
  readonly shuffleBuffer?: number | undefined
}

const csvOptionNames = ['tensors', 'delimiter', 'header', 'missing']

/** A CSV file (RFC 4180), read anew each time; where from is the platform's business. */
export interface CsvFile {
  /** For messages; one that ends in .tsv has tabs. */
  readonly path: string
  /** Its records, the header being the first. All have as many fields. */
  records(delimiter: string): AsyncIterable<readonly string[]>
  /** The line on which a record, from 0 and counting the header, ends. */
  lineOf(delimiter: string, record: number): Promise<number>
}

/** What `readCsv` makes of a file. */
export async function parseCsvDataset(source: CsvFile, options: CsvOptions): Promise<Dataset & WithClassNames> {
  const { path } = source
  const file = await openCsv(source, options, csvOptionNames)
  const columns = file.plans.map((plan) => ({ plan, elements: new ArrayBuilder(plan.dtype) }))
  let rows = 0
  const keep = (record: readonly string[]) => {
    for (const { plan, elements } of columns)
      for (const field of plan.columns) elements.push(parseField(plan, field, record, file.substitute))
  }
  for await (const _ of file.records(keep)) rows++
  if (rows === 0) throw new OnnxIreError('invalid-data', `${path}: no record is left to train on`)
  const tensors: Record<string, Tensor> = {}
  for (const { plan, elements } of columns) {
    const data = elements.elements()
    if (plan.classes && data instanceof BigInt64Array) renumber(data, plan.classes.sorted().places)
    tensors[plan.name] = { dtype: plan.dtype, dims: [rows, ...plan.dims], data }
  }
  return { ...fromArrays(tensors), classes: classNamesOf(file.plans) }
}

/** What `streamCsv` makes of a file. */
export async function parseCsvStream(
  source: CsvFile,
  options: StreamCsvOptions,
): Promise<ExampleStream & WithClassNames> {
  const { path } = source
  const file = await openCsv(source, options, [...csvOptionNames, 'shuffleBuffer'])
  const { shuffleBuffer } = options
  const gathering = file.plans.filter(({ classes }) => classes && !classes.given)
  let length: number | undefined
  if (gathering.length > 0) {
    length = 0
    for await (const _ of file.records((record) => toExample(gathering, record, file.substitute))) length++
    if (length === 0) throw new OnnxIreError('invalid-data', `${path}: no record is left to train on`)
  }
  const classes = classNamesOf(file.plans)
  const plans = file.plans.map((plan) => ({ ...plan, classes: plan.classes && new ClassNames(classes[plan.name]) }))
  const examples = () => file.records((record) => toExample(plans, record, file.substitute))
  return { ...stream(examples, { shuffleBuffer, length }), classes }
}

interface OpenCsv {
  readonly plans: readonly CsvTensorPlan[]
  /** What missing numbers become. */
  readonly substitute: number | undefined
  /** Its records through `convert`, whose complaints about a field are given file and line. */
  records<T>(convert: (record: readonly string[]) => T): AsyncGenerator<T, void, undefined>
}

/** Checks the options against each other and the header. */
async function openCsv(source: CsvFile, options: CsvOptions, names: readonly string[]): Promise<OpenCsv> {
  const { path } = source
  checkNames('csv', options, names)
  const { header = true, missing = 'error', delimiter = path.endsWith('.tsv') ? '\t' : ',' } = options
  checkBoolean('csv', 'header', header)
  if (typeof delimiter !== 'string' || delimiter === '') throw invalidOption('csv', 'delimiter', delimiter, 'a text')
  if (typeof missing === 'number')
    checkNumber('csv', 'missing', missing, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
  else if (missing !== 'error' && missing !== 'skip')
    throw invalidOption('csv', 'missing', missing, "'error', 'skip' or a number")
  const plans = planTensors(await readColumnNames(source, delimiter, header), options.tensors)
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
    const twice = record.find((name, i) => record.indexOf(name) < i)
    if (twice === undefined) return record
    throw new OnnxIreError('invalid-data', `${path}:1: two columns are named '${twice}'; rename one`)
  }
  throw new OnnxIreError('invalid-data', `${path}: the file is empty`)
}

function toExample(
  plans: readonly CsvTensorPlan[],
  record: readonly string[],
  substitute: number | undefined,
): DataExample {
  const example: Record<string, Tensor> = {}
  for (const plan of plans) {
    const { name, dtype, dims, columns } = plan
    const element = (i: number) => parseField(plan, columns[i]!, record, substitute)
    if (dtype === 'string') {
      example[name] = { dtype, dims, data: columns.map((_, i) => String(element(i))) }
      continue
    }
    const data: TypedArray = dtype === 'int64' ? new BigInt64Array(columns.length) : new Float32Array(columns.length)
    for (let i = 0; i < data.length; i++) data[i] = element(i) as number // a bigint where `data` holds those
    example[name] = { dtype, dims, data }
  }
  return example
}

const classNamesOf = (plans: readonly CsvTensorPlan[]): WithClassNames['classes'] =>
  Object.fromEntries(plans.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().names]] : [])))

function renumber(numbers: BigInt64Array, places: readonly number[]): void {
  for (let i = 0; i < numbers.length; i++) numbers[i] = BigInt(places[Number(numbers[i])]!)
}

/** How columns make a tensor. */
export interface CsvColumns {
  /** One column, or several side by side, by name; `*` stands for any characters and takes what no other tensor names. */
  readonly columns: NamePatterns
  /**
   * 'number' (default) for float32, 'integer' for int64, 'class' for the int64 number of a class name, 'text' for strings.
   */
  readonly as?: 'number' | 'integer' | 'class' | 'text' | undefined
  /** Of 'class': the names in the order of their numbers. Default: those of the file, sorted. */
  readonly classes?: readonly string[] | undefined
  /** Of one example. Default [] for one column by its name, else [columns]. */
  readonly dims?: readonly number[] | undefined
}

/** Which columns make a tensor: by themselves they are numbers. */
export type CsvTensor = NamePatterns | CsvColumns

/** A tensor of the file, ready to be filled from records. */
export interface CsvTensorPlan {
  readonly name: string
  readonly dtype: DType
  /** Of one example. */
  readonly dims: readonly number[]
  readonly columns: readonly CsvField[]
  readonly as: NonNullable<CsvColumns['as']>
  readonly classes: ClassNames | null
}

interface CsvField {
  readonly name: string
  /** Its place in a record, from 0. */
  readonly at: number
}

const kinds = ['number', 'integer', 'class', 'text']
const dtypeOf = { number: 'float32', integer: 'int64', class: 'int64', text: 'string' } as const

/**
 * Which fields of a record make which tensor.
 * @throws 'invalid-option' for what the header does not have
 */
export function planTensors(header: readonly string[], tensors: Readonly<Record<string, CsvTensor>>): CsvTensorPlan[] {
  const full = Object.entries(tensors).map(([name, given]) => [name, toColumns(given)] as const)
  if (full.length === 0) throw new OnnxIreError('invalid-option', "csv: option 'tensors' names no tensor")
  const named = new Set(full.flatMap(([, { columns }]) => [columns].flat()))
  const at = new Map(header.map((name, i) => [name, i]))
  const free = header.filter((name) => !named.has(name))
  return full.map(([name, options]) => {
    const owner = `csv: tensor '${name}'`
    checkNames(owner, options, ['columns', 'as', 'classes', 'dims'])
    const { as = 'number', classes } = options
    if (!kinds.includes(as)) throw invalidOption(owner, 'as', as, `one of ${kinds.join(', ')}`)
    if (classes && as !== 'class') throw invalidOption(owner, 'classes', classes, "left out, unless as is 'class'")
    const columns = [options.columns].flat().flatMap((pattern) => {
      if (at.has(pattern)) return [pattern]
      return pattern.includes('*')
        ? matchNames(pattern, free, `column that no other tensor names, for '${name}',`)
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

/** What stands for nothing in the usual exports of tables. */
const missingTexts = new Set(['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None'])

const isMissing = ({ as }: CsvTensorPlan, text: string) =>
  as !== 'text' && (as === 'class' ? text === '' : missingTexts.has(text))

/** Whether a field that some tensor needs is empty. */
export const hasMissing = (plans: readonly CsvTensorPlan[], record: readonly string[]): boolean =>
  plans.some((plan) => plan.columns.some(({ at }) => isMissing(plan, record[at]!)))

/** A field that is not what its tensor holds; the reader adds file and line. */
export class FieldError extends Error {}

/**
 * The element that a field makes: a number, a bigint for int64, a text.
 * @param substitute for an empty field of numbers
 */
export function parseField(
  plan: CsvTensorPlan,
  { name, at }: CsvField,
  record: readonly string[],
  substitute: number | undefined,
): number | bigint | string {
  const text = record[at]!
  const { as, classes } = plan
  if (as === 'text') return text
  const refuse = (what: string) => new FieldError(`column '${name}' ${what}`)
  if (isMissing(plan, text)) {
    if (substitute === undefined || classes)
      throw refuse(`is ${text === '' ? 'empty' : `'${text}'`}: fill it in, or see option 'missing'`)
    return as === 'integer' ? BigInt(substitute) : substitute
  }
  if (classes) return BigInt(classes.numberOf(text, refuse))
  const value = Number(text)
  if (!Number.isFinite(value) || /^\s*(?:$|0[xob])/i.test(text)) throw refuse(`is '${text}', not a number`)
  if (as === 'number') return value
  if (!Number.isSafeInteger(value)) throw refuse(`is '${text}', not a whole number`)
  return BigInt(value)
}

/** Elements of a tensor whose number is not known yet: room doubles as it runs out. */
export class ArrayBuilder {
  readonly #strings: string[] = []
  #room: TypedArray | null
  #used = 0

  constructor(dtype: DType) {
    const { array: Elements } = dtypes[dtype]
    this.#room = Elements && new Elements(1024)
  }

  push(value: number | bigint | string): void {
    if (typeof value === 'string') {
      this.#strings.push(value)
      return
    }
    const room = this.#room!
    if (this.#used === room.length) {
      const Elements = room.constructor as new (length: number) => TypedArray
      this.#room = new Elements(2 * room.length)
      new Uint8Array(this.#room.buffer).set(new Uint8Array(room.buffer))
    }
    this.#room![this.#used++] = value
  }

  /** Those pushed so far. */
  elements(): TensorData {
    return this.#room ? this.#room.slice(0, this.#used) : this.#strings
  }
}
