import type { TypedArray } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import { checkBoolean, checkNames, checkNumber, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { arrays } from './arrays.js'
import { type Classified, ClassNames } from './class-names.js'
import type { Example } from './collate.js'
import { type CsvTensor, elementFrom, FieldError, hasMissing, type Plan, planned } from './csv-tensors.js'
import type { Dataset } from './dataset.js'
import { Growing } from './growing.js'
import { type Stream, stream } from './stream.js'

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

const optionNames = ['tensors', 'delimiter', 'header', 'missing']

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
export async function csvTable(source: CsvFile, options: CsvOptions): Promise<Dataset & Classified> {
  const { path } = source
  const file = await open(source, options, optionNames)
  const columns = file.plans.map((plan) => ({ plan, elements: new Growing(plan.dtype) }))
  let rows = 0
  const keep = (record: readonly string[]) => {
    for (const { plan, elements } of columns)
      for (const field of plan.columns) elements.push(elementFrom(plan, field, record, file.substitute))
  }
  for await (const _ of file.converted(keep)) rows++
  if (rows === 0) throw new OnnxIreError('invalid-data', `${path}: no record is left to train on`)
  const tensors: Record<string, Tensor> = {}
  for (const { plan, elements } of columns) {
    const data = elements.elements()
    if (plan.classes && data instanceof BigInt64Array) renumber(data, plan.classes.sorted().places)
    tensors[plan.name] = { dtype: plan.dtype, dims: [rows, ...plan.dims], data }
  }
  return { ...arrays(tensors), classes: namesOf(file.plans) }
}

/** What `streamCsv` makes of a file. */
export async function csvExamples(source: CsvFile, options: StreamCsvOptions): Promise<Stream & Classified> {
  const { path } = source
  const file = await open(source, options, [...optionNames, 'shuffleBuffer'])
  const { shuffleBuffer } = options
  const gathering = file.plans.filter(({ classes }) => classes && !classes.given)
  let length: number | undefined
  if (gathering.length > 0) {
    length = 0
    for await (const _ of file.converted((record) => exampleOf(gathering, record, file.substitute))) length++
    if (length === 0) throw new OnnxIreError('invalid-data', `${path}: no record is left to train on`)
  }
  const classes = namesOf(file.plans)
  const plans = file.plans.map((plan) => ({ ...plan, classes: plan.classes && new ClassNames(classes[plan.name]) }))
  const examples = () => file.converted((record) => exampleOf(plans, record, file.substitute))
  return { ...stream(examples, { shuffleBuffer, length }), classes }
}

interface OpenCsv {
  readonly plans: readonly Plan[]
  /** What missing numbers become. */
  readonly substitute: number | undefined
  /** Its records through `convert`, whose complaints about a field are given file and line. */
  converted<T>(convert: (record: readonly string[]) => T): AsyncGenerator<T, void, undefined>
}

/** Checks the options against each other and the header. */
async function open(source: CsvFile, options: CsvOptions, names: readonly string[]): Promise<OpenCsv> {
  const { path } = source
  checkNames('csv', options, names)
  const { header = true, missing = 'error', delimiter = path.endsWith('.tsv') ? '\t' : ',' } = options
  checkBoolean('csv', 'header', header)
  if (typeof delimiter !== 'string' || delimiter === '') throw invalidOption('csv', 'delimiter', delimiter, 'a text')
  if (typeof missing === 'number')
    checkNumber('csv', 'missing', missing, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
  else if (missing !== 'error' && missing !== 'skip')
    throw invalidOption('csv', 'missing', missing, "'error', 'skip' or a number")
  const plans = planned(await columnsOf(source, delimiter, header), options.tensors)
  return {
    plans,
    substitute: typeof missing === 'number' ? missing : undefined,
    async *converted(convert) {
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

async function columnsOf(source: CsvFile, delimiter: string, header: boolean): Promise<readonly string[]> {
  const { path } = source
  for await (const record of source.records(delimiter)) {
    if (!header) return record.map((_, i) => String(i + 1))
    const twice = record.find((name, i) => record.indexOf(name) < i)
    if (twice === undefined) return record
    throw new OnnxIreError('invalid-data', `${path}:1: two columns are named '${twice}'; rename one`)
  }
  throw new OnnxIreError('invalid-data', `${path}: the file is empty`)
}

function exampleOf(plans: readonly Plan[], record: readonly string[], substitute: number | undefined): Example {
  const example: Record<string, Tensor> = {}
  for (const plan of plans) {
    const { name, dtype, dims, columns } = plan
    const element = (i: number) => elementFrom(plan, columns[i]!, record, substitute)
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

const namesOf = (plans: readonly Plan[]): Classified['classes'] =>
  Object.fromEntries(plans.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().names]] : [])))

function renumber(numbers: BigInt64Array, places: readonly number[]): void {
  for (let i = 0; i < numbers.length; i++) numbers[i] = BigInt(places[Number(numbers[i])]!)
}
