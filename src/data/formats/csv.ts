import type { DType, TypedArray } from '../../ir/dtype.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { checkBoolean, checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import { fromArrays } from '../arrays.js'
import { ClassNumbering, checkClassNames, classNamesOf, type WithClassNames } from '../classes.js'
import type { Dataset } from '../dataset.js'
import type { DataExample } from '../examples.js'
import { type ExampleStream, stream } from '../stream.js'
import type { FeatureStatistics, TableStatistics } from '../table-statistics.js'
import { ArrayBuilder } from './array-builder.js'
import {
  createFeatures,
  type FeatureOptions,
  FeatureTensor,
  FieldError,
  hasFeatures,
  missingTexts,
  type TableField,
} from './table-features.js'

/** Options of `readCsv`. */
export interface CsvOptions {
  /**
   * Tensors and the columns they are read from: `{ input: '*', label: { columns: 'species', as: 'class' } }`. A list of
   * columns with options gives one tensor with the features of all of them.
   */
  readonly tensors: Readonly<Record<string, CsvTensor>>
  /** Field delimiter. Default ',', or a tab for files named .tsv or .tsv.gz. */
  readonly delimiter?: string | undefined
  /** Whether the first record contains the column names; otherwise columns are named '1', '2', ... Default true. */
  readonly header?: boolean | undefined
  /**
   * Treatment of an example with a missing number or class: 'error' throws (the default), 'skip' omits the example, and
   * a number replaces missing numbers. Numbers and dates are missing if their field is empty, NA, NaN, null or None,
   * classes and categories only if it is empty, because NA and None may be names.
   */
  readonly missing?: 'error' | 'skip' | number | undefined
  /**
   * Statistics of the training data, `train.statistics`, for features of other data: means, categories and so on.
   * Default: those of this file, or after `split` of its training part.
   */
  readonly statistics?: TableStatistics | undefined
}

/** Options of `streamCsv`. */
export interface StreamCsvOptions extends CsvOptions {
  /** Size of the shuffle buffer, in examples. Default 1024. */
  readonly shuffleBuffer?: number | undefined
}

const csvOptionNames = ['tensors', 'delimiter', 'header', 'missing', 'statistics']

/** CSV file (RFC 4180) that a platform reads; every call of `records` reads it again. */
export interface CsvFile {
  /** Path for messages; the default delimiter of .tsv and .tsv.gz is a tab. */
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
  const raw = file.tensors.map(({ features }) => features.map(() => new ArrayBuilder('float64')))
  let rows = 0
  const append = (record: readonly string[]) => {
    for (const { plan, elements } of columns)
      for (const field of plan.columns) elements.push(parseField(plan, field, record, file.substitute))
    for (const [t, { features }] of file.tensors.entries())
      for (const [i, feature] of features.entries()) raw[t]![i]!.push(readFeature(feature, record))
  }
  for await (const _ of file.records(append)) rows++
  if (rows === 0) throw new OnnxIreError('invalid-data', `${path}: it has no usable record`)
  const tensors: Record<string, Tensor> = emptyRecord()
  for (const { plan, elements } of columns) {
    const data = elements.elements()
    if (plan.classes && data instanceof BigInt64Array) renumber(data, plan.classes.sorted().positions)
    tensors[plan.name] = { dtype: plan.dtype, dims: [rows, ...plan.dims], data }
  }
  const classes = classNamesOf(file.plans)
  if (file.tensors.length === 0) return { ...fromArrays(tensors), classes }
  const values = raw.map((builders) => builders.map((each) => each.elements() as Float64Array))
  const identity = file.tensors.map((tensor, t) => tensor.identity(rows, values[t]!))
  const { identify } = fromArrays(Object.assign({}, tensors, ...identity))
  const build = (statistics: TableStatistics): Dataset & WithClassNames => ({
    ...fromArrays({
      ...tensors,
      ...encodeTensors(file.tensors, rows, (t, i, row) => values[t]![i]![row]!, statistics),
    }),
    identify,
    classes,
    statistics,
  })
  const given = options.statistics
  if (given) return build(given)
  const statisticsOf = (indices?: ArrayLike<number>) =>
    fitTensors(file.tensors, (t, i) =>
      indices ? Float64Array.from(indices, (row) => values[t]![i]![row]!) : values[t]![i]!,
    )
  return { ...build(statisticsOf()), fitTo: (indices) => build(statisticsOf(indices)) }
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
  let { statistics } = options
  const fits = file.tensors.length > 0 && !statistics
  let length: number | undefined
  if (collecting.length > 0 || fits) {
    length = 0
    const raw = file.tensors.map(({ features }) => features.map(() => new ArrayBuilder('float64')))
    const collect = (record: readonly string[]) => {
      toExample(collecting, record, file.substitute)
      if (!fits) return
      for (const [t, { features }] of file.tensors.entries())
        for (const [i, feature] of features.entries()) raw[t]![i]!.push(readFeature(feature, record))
    }
    for await (const _ of file.records(collect)) length++
    if (length === 0) throw new OnnxIreError('invalid-data', `${path}: it has no usable record`)
    if (fits) statistics = fitTensors(file.tensors, (t, i) => raw[t]![i]!.elements() as Float64Array)
  }
  const classes = classNamesOf(file.plans)
  const plans = file.plans.map((plan) => ({
    ...plan,
    classes: plan.classes && new ClassNumbering(getOwn(classes, plan.name)),
  }))
  const toRow = (record: readonly string[]): DataExample => {
    const read = (t: number, i: number) => readFeature(file.tensors[t]!.features[i]!, record)
    const encoded = encodeTensors(file.tensors, 1, read, statistics ?? {})
    const single = Object.entries(encoded).map(([name, { dims, ...rest }]) => [name, { ...rest, dims: dims.slice(1) }])
    return { ...toExample(plans, record, file.substitute), ...Object.fromEntries(single) }
  }
  const examples = () => file.records(toRow)
  return { ...stream(examples, { shuffleBuffer, length }), classes, ...(statistics ? { statistics } : {}) }
}

/** Reads the raw number of a feature in a record. */
function readFeature(feature: FeatureTensor['features'][number], record: readonly string[]): number {
  const { name, at } = feature.field
  const text = record[at]!
  const isMissing = missingTexts.has(text)
  if (!isMissing || !feature.needsField) return feature.read(text, isMissing)
  throw new FieldError(
    `column '${name}' is ${text === '' ? 'empty' : `'${text}'`}: fill it in, or set 'impute' of the column`,
  )
}

const fitTensors = (
  tensors: readonly FeatureTensor[],
  raw: (tensor: number, feature: number) => Iterable<number>,
): TableStatistics =>
  Object.fromEntries(
    tensors.map((tensor, t): [string, Readonly<Record<string, FeatureStatistics>>] => [
      tensor.name,
      tensor.fit((i) => raw(t, i)),
    ]),
  )

const encodeTensors = (
  tensors: readonly FeatureTensor[],
  rows: number,
  raw: (tensor: number, feature: number, row: number) => number,
  statistics: TableStatistics,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries(
    tensors.map((tensor, t) => [tensor.name, tensor.encode(rows, (i, row) => raw(t, i, row), statistics)]),
  )

interface OpenCsv {
  readonly plans: readonly CsvTensorPlan[]
  /** Tensors of features. */
  readonly tensors: readonly FeatureTensor[]
  /** Replacement of missing numbers. */
  readonly substitute: number | undefined
  /** Converts each record; errors of a field get the file and the line. */
  records<T>(convert: (record: readonly string[]) => T): AsyncGenerator<T, void, undefined>
}

/** Checks the options, against each other and against the header. */
async function openCsv(source: CsvFile, options: CsvOptions, names: readonly string[]): Promise<OpenCsv> {
  const { path } = source
  checkNames('csv', options, names)
  const { header = true, missing = 'error', delimiter = /\.tsv(\.gz)?$/i.test(path) ? '\t' : ',' } = options
  checkBoolean('csv', 'header', header)
  if (typeof delimiter !== 'string' || delimiter === '')
    throw invalidOption('csv', 'delimiter', delimiter, 'a non-empty string')
  if (typeof missing === 'number')
    checkNumber('csv', 'missing', missing, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
  else if (missing !== 'error' && missing !== 'skip')
    throw invalidOption('csv', 'missing', missing, "'error', 'skip' or a number")
  const substitute = typeof missing === 'number' ? missing : undefined
  const columns = await readColumnNames(source, delimiter, header, options.delimiter === undefined)
  const { plans, tensors } = planTensors(columns, options.tensors, substitute)
  const required = tensors.flatMap(({ features }) => features.filter(({ needsField }) => needsField))
  const isIncomplete = (record: readonly string[]) =>
    hasMissing(plans, record) || required.some(({ field }) => missingTexts.has(record[field.at]!))
  const integers = plans.find(({ as }) => as === 'integer')
  if (integers && typeof missing === 'number' && !Number.isSafeInteger(missing))
    throw invalidOption('csv', 'missing', missing, `an integer, because the tensor '${integers.name}' has integers`)
  return {
    plans,
    tensors,
    substitute,
    async *records(convert) {
      let number = -1
      for await (const record of source.records(delimiter)) {
        number++
        if ((number === 0 && header) || (missing === 'skip' && isIncomplete(record))) continue
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

/** @param isDefault whether the delimiter is not given, but follows from the name of the file */
async function readColumnNames(
  source: CsvFile,
  delimiter: string,
  header: boolean,
  isDefault: boolean,
): Promise<readonly string[]> {
  const { path } = source
  for await (const record of source.records(delimiter)) {
    if (!header) return record.map((_, i) => String(i + 1))
    const [other] = (record.length === 1 && isDefault && /[;\t|,]/.exec(record[0]!)) || []
    if (other !== undefined)
      throw new OnnxIreError(
        'invalid-data',
        `${path}:1: the only column is ${JSON.stringify(record[0])}: set the option delimiter, probably to ${JSON.stringify(other)}`,
      )
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

/** Replaces each class number by its position in the sorted class names. */
function renumber(numbers: BigInt64Array, positions: readonly number[]): void {
  for (let i = 0; i < numbers.length; i++) numbers[i] = BigInt(positions[Number(numbers[i])]!)
}

/** Columns of a CSV file, and their conversion to elements of a tensor. */
export interface CsvColumns extends Omit<FeatureOptions, 'as'> {
  /** Names of one or several columns; the pattern `*` matches any characters, in columns that no other tensor names. */
  readonly columns: NamePatterns
  /**
   * Type of the elements: 'number' (default) for float32, 'integer' for int64, 'class' for the int64 number of a class
   * name, 'text' for strings; 'one-hot', 'category' and 'date' see `FeatureOptions`.
   */
  readonly as?: FeatureOptions['as'] | 'integer' | 'class' | 'text'
  /** Dims of one example. Default: [] for a single named column with one element, else [elements]. */
  readonly dims?: readonly number[] | undefined
}

/**
 * Columns of a tensor; a name or pattern alone gives float32 numbers. A list of columns with options becomes one vector
 * per example.
 */
export type CsvTensor = NamePatterns | CsvColumns | readonly CsvColumns[]

/** Resolved tensor of a CSV file: its type, and its fields in a record. */
interface CsvTensorPlan {
  readonly name: string
  readonly dtype: DType
  /** Dims of one example. */
  readonly dims: readonly number[]
  readonly columns: readonly TableField[]
  readonly as: 'number' | 'integer' | 'class' | 'text'
  readonly classes: ClassNumbering | null
  /** Class in place of a missing one. */
  readonly impute: string | undefined
}

const plainKinds = ['number', 'integer', 'class', 'text'] as const
const kinds: readonly string[] = [...plainKinds, 'one-hot', 'category', 'date']
const dtypeOf = { number: 'float32', integer: 'int64', class: 'int64', text: 'string' } as const
const columnOptions = ['columns', 'as', 'classes', 'dims', 'impute', 'scale', 'parts']

/**
 * Resolves the fields of every tensor from the header.
 * @param substitute replacement of missing numbers
 * @throws OnnxIreError `invalid-option` for columns that the header does not have
 */
function planTensors(
  header: readonly string[],
  tensors: Readonly<Record<string, CsvTensor>>,
  substitute: number | undefined,
): Pick<OpenCsv, 'plans' | 'tensors'> {
  const full = Object.entries(tensors).map(([name, given]) => [name, toColumns(name, given)] as const)
  if (full.length === 0) throw new OnnxIreError('invalid-option', "csv: option 'tensors' must name at least one tensor")
  const named = new Set(full.flatMap(([, parts]) => parts.flatMap(({ columns }) => [columns].flat())))
  const at = new Map(header.map((name, i) => [name, i]))
  const free = header.filter((name) => !named.has(name))
  const fieldsOf = (name: string, patterns: NamePatterns): TableField[] =>
    [patterns].flat().flatMap((pattern) => {
      const found = at.has(pattern)
        ? [pattern]
        : pattern.includes('*')
          ? matchNames(pattern, free, `column not used by another tensor, for '${name}',`)
          : matchNames(pattern, header, `column for '${name}'`)
      return found.map((column) => ({ name: column, at: at.get(column)! }))
    })
  const plans: CsvTensorPlan[] = []
  const featureTensors: FeatureTensor[] = []
  for (const [name, parts] of full) {
    const owner = `csv: tensor '${name}'`
    for (const part of parts) {
      checkNames(owner, part, columnOptions)
      const patterns = [part.columns].flat()
      if (patterns.length === 0 || !patterns.every(isName))
        throw invalidOption(owner, 'columns', part.columns, 'the name of a column, or a list of at least one')
      if (!kinds.includes(part.as ?? 'number')) throw invalidOption(owner, 'as', part.as, `one of ${kinds.join(', ')}`)
    }
    const isList =
      Array.isArray(getOwn(tensors, name)) &&
      parts.length > 0 &&
      typeof (getOwn(tensors, name) as unknown[])[0] === 'object'
    const fields = parts.map(({ columns }) => fieldsOf(name, columns))
    const [first] = parts
    if (isList || hasFeatures(first!)) {
      const filled = parts.map((part) => imputeWith(part, substitute))
      featureTensors.push(planFeatures(name, filled, fields, !isList && at.has(first!.columns as string)))
      continue
    }
    plans.push(planColumns(name, first!, fields[0]!, at.has(first!.columns as string)))
  }
  return { plans, tensors: featureTensors }
}

/** The options of columns with a replacement of missing numbers, if they have none of their own. */
const imputeWith = (part: CsvColumns, impute: number | undefined): CsvColumns =>
  impute === undefined || part.impute !== undefined || part.as === 'one-hot' || part.as === 'category'
    ? part
    : { ...part, impute }

/** @param isSingle whether the tensor is one named column */
function planColumns(name: string, part: CsvColumns, fields: readonly TableField[], isSingle: boolean): CsvTensorPlan {
  const owner = `csv: tensor '${name}'`
  const as = (part.as ?? 'number') as CsvTensorPlan['as']
  const { classes, impute } = part
  if (classes && as !== 'class') throw invalidOption(owner, 'classes', classes, `omitted for '${as}'`)
  if (classes) checkClassNames(owner, classes)
  if (impute !== undefined && (as !== 'class' || typeof impute !== 'string'))
    throw invalidOption(owner, 'impute', impute, as === 'class' ? 'the name of a class' : `omitted for '${as}'`)
  for (const option of ['scale', 'parts'] as const)
    if (part[option] !== undefined) throw invalidOption(owner, option, part[option], `omitted for '${as}'`)
  const dims = part.dims ?? (isSingle ? [] : [fields.length])
  if (sizeOf(dims) !== fields.length)
    throw invalidOption(owner, 'dims', `[${dims.join(', ')}]`, `of ${fields.length} elements, one per column`)
  const names = as === 'class' ? new ClassNumbering(classes) : null
  return { name, dtype: dtypeOf[as], dims, as, columns: fields, classes: names, impute: impute as string | undefined }
}

/** @param isSingle whether the tensor is one named column */
function planFeatures(
  name: string,
  parts: readonly CsvColumns[],
  fields: readonly (readonly TableField[])[],
  isSingle: boolean,
): FeatureTensor {
  const owner = `csv: tensor '${name}'`
  const other = parts.find(({ as }) => as === 'integer' || as === 'class' || as === 'text')
  if (other)
    throw invalidOption(owner, 'as', other.as, "'number', 'date', 'one-hot' or 'category' in a list of columns")
  const categories = parts.filter(({ as }) => as === 'category').length
  if (categories > 0 && categories < parts.length)
    throw invalidOption(
      owner,
      'as',
      'category',
      "'one-hot' beside numbers: numbers of categories are int64, in a tensor of their own",
    )
  const given = parts.filter(({ dims }) => dims !== undefined)
  if (given.length > 0 && parts.length > 1)
    throw invalidOption(owner, 'dims', given[0]!.dims, 'omitted in a list of columns')
  const features = parts.flatMap((part, i) => {
    const parse = part.scale === undefined ? parseFloat32 : parseNumber
    return createFeatures(owner, fields[i]!, part as FeatureOptions, (text, { name: column }) => parse(text, column))
  })
  const names = features.map((feature) => feature.name)
  const twice = names.find((feature, i) => names.indexOf(feature) < i)
  if (twice !== undefined)
    throw invalidOption(owner, 'columns', twice, 'named once in a tensor, which stores its statistics by this name')
  const dims = given[0]?.dims ?? (isSingle && features.length === 1 && parts[0]!.as !== 'one-hot' ? [] : undefined)
  return new FeatureTensor(name, features, categories > 0 ? 'int64' : 'float32', dims)
}

/**
 * The columns of a tensor with their options, one entry unless the tensor is a list of them. Throws `invalid-option`
 * for a list of names and objects.
 */
function toColumns(name: string, given: CsvTensor): readonly CsvColumns[] {
  if (!Array.isArray(given)) return [isName(given) ? { columns: given } : (given as CsvColumns)]
  if (given.every(isName)) return [{ columns: given }]
  if (given.every((part) => typeof part === 'object' && part !== null)) return given
  const allowed = "names of columns, or a list of objects such as { columns: 'age' }"
  throw invalidOption('csv', `tensors.${name}`, given, allowed)
}

const isName = (value: unknown): value is string => typeof value === 'string'

const isMissing = ({ as, impute }: CsvTensorPlan, text: string) =>
  as !== 'text' && (as === 'class' ? text === '' && impute === undefined : missingTexts.has(text))

/** Whether a field of some tensor is missing. */
const hasMissing = (plans: readonly CsvTensorPlan[], record: readonly string[]): boolean =>
  plans.some((plan) => plan.columns.some(({ at }) => isMissing(plan, record[at]!)))

/**
 * Parses a field to an element: a number, a bigint for int64, or a string.
 * @param substitute replacement of a missing number
 */
function parseField(
  plan: CsvTensorPlan,
  { name, at }: TableField,
  record: readonly string[],
  substitute: number | undefined,
): number | bigint | string {
  const text = record[at]!
  const { as, classes } = plan
  if (as === 'text') return text
  const toError = (problem: string) => new FieldError(`column '${name}' ${problem}`)
  if (isMissing(plan, text)) {
    if (substitute === undefined || classes)
      throw toError(
        `is ${text === '' ? 'empty' : `'${text}'`}: fill it in, or set ${classes ? "'impute' of the column or 'missing' to 'skip'" : "option 'missing' or 'impute' of the column"}`,
      )
    return as === 'integer' ? BigInt(substitute) : substitute
  }
  if (classes) return BigInt(classes.numberOf(text === '' ? (plan.impute ?? '') : text, toError))
  if (as === 'number') return parseFloat32(text, name)
  const value = parseNumber(text, name)
  if (!Number.isSafeInteger(value)) throw toError(`is '${text}', not an integer`)
  return BigInt(value)
}

/** Parses a finite number. Throws `FieldError`. */
function parseNumber(text: string, column: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && !/^\s*(?:$|0[xob])/i.test(text)) return value
  throw new FieldError(
    `column '${column}' is '${text}', not a number${/\d/.test(text) ? ' (with a decimal point, and without separators and units)' : ''}; names are read with as: 'class', as features with as: 'one-hot'`,
  )
}

/** Parses a number that float32 can represent. Throws `FieldError`. */
function parseFloat32(text: string, column: string): number {
  const value = parseNumber(text, column)
  if (Number.isFinite(Math.fround(value))) return value
  throw new FieldError(`column '${column}' is '${text}', beyond float32: use a larger unit, or set 'scale'`)
}
