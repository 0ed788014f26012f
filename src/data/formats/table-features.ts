import type { TypedArray } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import { sizeOf } from '../../ir/tensor.js'
import { checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import { mean, median } from '../../util/statistics.js'
import type { DataColumn } from '../arrays.js'
import { ClassNumbering, checkClassNames } from '../classes.js'
import type { FeatureStatistics, TableStatistics } from '../table-statistics.js'
import { type DatePart, dateParts, parseDate } from './date.js'

/** Options of the features that a column becomes. */
export interface FeatureOptions {
  /**
   * 'number'; 'date' for parts of a date; 'one-hot' for a 1 in the place of the category among zeros, all zeros if the
   * category is missing or not among those of the training data; 'category' for the int64 number of the category from
   * 1, 0 if it is missing or unknown, for an embedding.
   */
  readonly as?: 'number' | 'date' | 'one-hot' | 'category' | undefined
  /**
   * Replacement of a missing field: a number, the mean or the median of the column for numbers and dates, and a name
   * for classes and categories. Default: see `missing`; a missing category is none.
   */
  readonly impute?: number | string | undefined
  /**
   * Scaling of numbers and dates: 'standard' subtracts the mean and divides by the standard deviation, 'min-max' maps
   * to [0, 1]. Default: none.
   */
  readonly scale?: 'standard' | 'min-max' | undefined
  /** Parts of a date. Default year, month, day and weekday (Monday is 0). */
  readonly parts?: readonly DatePart[] | undefined
  /** Names of the categories, in order. Default: the sorted names of the training data. */
  readonly classes?: readonly string[] | undefined
}

/** Column of a table: its name, and the index of its field in a record. */
export interface TableField {
  readonly name: string
  readonly at: number
}

/** Reads a number from the text of a field that is not missing; throws an error about the column. */
type ParseNumber = (text: string, field: TableField) => number

/** Texts that usual table exports write for a missing number or date; a category is missing only if it is empty. */
export const missingTexts: ReadonlySet<string> = new Set(['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None'])

/** Whether options describe features: numbers that depend on other examples, or several per column. */
export const hasFeatures = ({
  as = 'number',
  impute,
  scale,
}: Omit<FeatureOptions, 'as'> & { as?: string | undefined }) =>
  as === 'date' ||
  as === 'one-hot' ||
  as === 'category' ||
  (as === 'number' && (impute !== undefined || scale !== undefined))

/** A feature: a number per example, or several zeros and ones for the categories of a column. */
abstract class Feature {
  /** Name of the column, with the part of a date: 'sold.month'. */
  readonly name: string
  readonly field: TableField

  constructor(field: TableField, part?: string) {
    this.name = part === undefined ? field.name : `${field.name}.${part}`
    this.field = field
  }

  /** Reads the raw number of a field: NaN for a missing number, the index of a category. */
  abstract read(text: string, isMissing: boolean): number
  /** Whether a missing field is an error unless the reader replaces it. */
  abstract get needsField(): boolean
  /** Computes statistics of raw numbers. */
  abstract fit(raw: Iterable<number>): FeatureStatistics
  abstract width(statistics: FeatureStatistics): number
  /** Writes the elements of a raw number. */
  abstract encode(raw: number, statistics: FeatureStatistics, out: TypedArray, at: number): void
  /** The raw number as what identifies the example. */
  abstract contents(raw: number): string | ArrayBufferView
}

class NumberFeature extends Feature {
  readonly #options: FeatureOptions
  readonly #parse: (text: string) => number
  readonly #part: DatePart | undefined

  constructor(field: TableField, options: FeatureOptions, parse: (text: string) => number, part?: DatePart) {
    super(field, part)
    this.#options = options
    this.#parse = parse
    this.#part = part
  }

  get needsField(): boolean {
    return this.#options.impute === undefined
  }

  read(text: string, isMissing: boolean): number {
    return isMissing ? Number.NaN : this.#parse(text)
  }

  fit(raw: Iterable<number>): FeatureStatistics {
    const { impute, scale } = this.#options
    const values = Float64Array.from(raw)
    const present = values.filter((value) => !Number.isNaN(value))
    if (present.length === 0 && typeof impute !== 'number')
      throw new OnnxIreError(
        'invalid-data',
        `column '${this.field.name}' has no value in the training data: leave it out`,
      )
    const fill = typeof impute === 'number' ? impute : impute === 'median' ? median(present) : mean(present)
    const filled = values.map((value) => (Number.isNaN(value) ? fill : value))
    const least = filled.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
    const most = filled.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
    const offset = scale === 'standard' ? mean(filled) : least
    const spread = scale === 'standard' ? Math.sqrt(mean(filled.map((value) => (value - offset) ** 2))) : most - least
    return {
      ...(this.#part === undefined ? {} : { part: this.#part }),
      ...(impute === undefined ? {} : { fill }),
      // A constant column becomes 0.
      ...(scale === undefined ? {} : { offset, divisor: spread > 1e-12 * Math.abs(most) ? spread : 1 }),
    }
  }

  width(): number {
    return 1
  }

  encode(raw: number, { fill, offset = 0, divisor = 1 }: FeatureStatistics, out: TypedArray, at: number): void {
    out[at] = ((Number.isNaN(raw) ? Number(fill) : raw) - offset) / divisor
  }

  contents(raw: number): Float64Array {
    return Float64Array.of(raw)
  }
}

class CategoryFeature extends Feature {
  readonly #impute: string | undefined
  readonly #given: readonly string[] | undefined
  readonly #isOneHot: boolean
  /** Names in the order of their first occurrence. */
  readonly #names = new ClassNumbering(undefined)
  readonly #positions = new WeakMap<FeatureStatistics, Int32Array>()

  constructor(field: TableField, { as, impute, classes }: FeatureOptions) {
    super(field)
    this.#impute = impute as string | undefined
    this.#given = classes
    this.#isOneHot = as === 'one-hot'
  }

  get needsField(): boolean {
    return false
  }

  read(text: string): number {
    const name = text === '' ? this.#impute : text
    return name === undefined ? Number.NaN : this.#names.numberOf(name, (problem) => new Error(problem))
  }

  fit(raw: Iterable<number>): FeatureStatistics {
    const fill = this.#impute === undefined ? {} : { fill: this.#impute }
    if (this.#given) return { ...fill, categories: this.#given }
    const present = new ClassNumbering(undefined)
    const { names } = this.#names
    for (const number of raw)
      if (!Number.isNaN(number)) present.numberOf(names[number]!, (problem) => new Error(problem))
    const categories = present.sorted().names
    if (categories.length > 0) return { ...fill, categories }
    throw new OnnxIreError(
      'invalid-data',
      `column '${this.field.name}' has no value in the training data: leave it out`,
    )
  }

  width({ categories = [] }: FeatureStatistics): number {
    return this.#isOneHot ? categories.length : 1
  }

  encode(raw: number, statistics: FeatureStatistics, out: TypedArray, at: number): void {
    const position = this.#positionsOf(statistics)[raw] ?? -1
    if (!this.#isOneHot) out[at] = BigInt(position + 1) as never
    else if (position >= 0) out[at + position] = 1
  }

  contents(raw: number): string {
    return this.#names.nameOf(raw) ?? ''
  }

  /** Positions of the names that were read among the categories; -1 for others. */
  #positionsOf(statistics: FeatureStatistics): Int32Array {
    const known = this.#positions.get(statistics)
    if (known && known.length === this.#names.size) return known
    const { names } = this.#names
    const order = new Map(statistics.categories?.map((name, i) => [name, i]))
    const positions = Int32Array.from(names, (name) => order.get(name) ?? -1)
    this.#positions.set(statistics, positions)
    return positions
  }
}

/** A tensor whose examples are the features of some columns. */
export class FeatureTensor {
  readonly name: string
  readonly dtype: 'float32' | 'int64'
  readonly features: readonly Feature[]
  /** Dims of one example; undefined for a vector of all features. */
  readonly #dims: readonly number[] | undefined

  constructor(
    name: string,
    features: readonly Feature[],
    dtype: 'float32' | 'int64',
    dims: readonly number[] | undefined,
  ) {
    this.name = name
    this.features = features
    this.dtype = dtype
    this.#dims = dims
  }

  /** Computes the statistics of raw numbers, by feature. */
  fit(raw: (feature: number) => Iterable<number>): Readonly<Record<string, FeatureStatistics>> {
    return Object.fromEntries(this.features.map((feature, i) => [feature.name, feature.fit(raw(i))]))
  }

  /** Encodes the raw numbers of `rows` examples. */
  encode(rows: number, raw: (feature: number, row: number) => number, statistics: TableStatistics): Tensor {
    const own = getOwn(statistics, this.name) ?? emptyRecord<FeatureStatistics>()
    const fitted = this.features.map((feature) => {
      const found = getOwn(own, feature.name)
      if (found) return found
      throw invalidOption(
        'csv',
        'statistics',
        Object.keys(own),
        `statistics of '${feature.name}' for the tensor '${this.name}'`,
      )
    })
    const widths = this.features.map((feature, i) => feature.width(fitted[i]!))
    const width = widths.reduce((a, b) => a + b, 0)
    const dims = this.#dims ?? [width]
    if (sizeOf(dims) !== width)
      throw invalidOption(
        `csv: tensor '${this.name}'`,
        'dims',
        `[${dims.join(', ')}]`,
        `of ${width} elements, one per feature`,
      )
    const data = this.dtype === 'int64' ? new BigInt64Array(rows * width) : new Float32Array(rows * width)
    for (let row = 0, at = 0; row < rows; row++)
      for (const [i, feature] of this.features.entries()) {
        feature.encode(raw(i, row), fitted[i]!, data, at)
        at += widths[i]!
      }
    return { dtype: this.dtype, dims: [rows, ...dims], data }
  }

  /** Columns that identify the examples of a table: raw numbers and names, which no statistics change. */
  identity(rows: number, raw: readonly Float64Array[]): Readonly<Record<string, DataColumn>> {
    return Object.fromEntries(
      this.features.map((feature, i) => [
        `${this.name}/${feature.name}`,
        {
          length: rows,
          rows: () => ({ dtype: 'float64', dims: [rows], data: raw[i]! }),
          contents: (row) => [feature.contents(raw[i]![row]!)] as (string | ArrayBufferView)[],
        } satisfies DataColumn,
      ]),
    )
  }
}

/** Creates the features of columns. @param owner the tensor, for messages */
export function createFeatures(
  owner: string,
  fields: readonly TableField[],
  options: FeatureOptions,
  parse: ParseNumber,
): readonly Feature[] {
  const { as = 'number', impute, scale, parts, classes } = options
  const isNumber = as === 'number' || as === 'date'
  if (impute !== undefined) {
    if (isNumber && impute !== 'mean' && impute !== 'median') {
      if (typeof impute === 'string') throw invalidOption(owner, 'impute', impute, "'mean', 'median' or a number")
      checkNumber(owner, 'impute', impute, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
    }
    if (!isNumber && (typeof impute !== 'string' || impute === ''))
      throw invalidOption(owner, 'impute', impute, 'the name of a category')
  }
  if (scale !== undefined && (!isNumber || (scale !== 'standard' && scale !== 'min-max')))
    throw invalidOption(
      owner,
      'scale',
      scale,
      isNumber ? "'standard' or 'min-max'" : 'omitted, because categories are no numbers',
    )
  if (parts !== undefined && as !== 'date') throw invalidOption(owner, 'parts', parts, "omitted unless 'as' is 'date'")
  if (parts?.length === 0) throw invalidOption(owner, 'parts', parts, 'a list of at least one part')
  if (classes !== undefined && isNumber)
    throw invalidOption(owner, 'classes', classes, 'omitted, because numbers have none')
  if (classes) checkClassNames(owner, classes)
  for (const part of parts ?? [])
    if (!Object.hasOwn(dateParts, part))
      throw invalidOption(owner, 'parts', part, `one of ${Object.keys(dateParts).join(', ')}`)
  const own: FeatureOptions = { ...options, as }
  return fields.flatMap((field): Feature[] => {
    if (!isNumber) return [new CategoryFeature(field, own)]
    if (as === 'number') return [new NumberFeature(field, own, (text) => parse(text, field))]
    return (parts ?? ['year', 'month', 'day', 'weekday']).map(
      (part) => new NumberFeature(field, own, (text) => readPart(text, field, part), part),
    )
  })
}

/** Error of a field whose text does not fit its tensor; the reader adds the file and the line. */
export class FieldError extends Error {}

function readPart(text: string, { name }: TableField, part: DatePart): number {
  const date = parseDate(text)
  if (date) return dateParts[part](date)
  throw new FieldError(`column '${name}' is '${text}', not a date such as 2024-05-31 or 2024-05-31T14:30`)
}
