import type { DType } from '../ir/dtype.js'
import { sizeOf } from '../ir/tensor.js'
import { checkNames, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { matching, type Patterns } from '../util/pattern.js'
import { ClassNames } from './class-names.js'

/** How columns make a tensor. */
export interface CsvColumns {
  /** One column, or several side by side, by name; `*` stands for any characters and takes what no other tensor names. */
  readonly columns: Patterns
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
export type CsvTensor = Patterns | CsvColumns

/** A tensor of the file, ready to be filled from records. */
export interface Plan {
  readonly name: string
  readonly dtype: DType
  /** Of one example. */
  readonly dims: readonly number[]
  readonly columns: readonly Field[]
  readonly as: NonNullable<CsvColumns['as']>
  readonly classes: ClassNames | null
}

interface Field {
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
export function planned(header: readonly string[], tensors: Readonly<Record<string, CsvTensor>>): Plan[] {
  const full = Object.entries(tensors).map(([name, given]) => [name, columnsOf(given)] as const)
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
        ? matching(pattern, free, `column that no other tensor names, for '${name}',`)
        : matching(pattern, header, `column for '${name}'`)
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

const columnsOf = (given: CsvTensor): CsvColumns =>
  typeof given === 'object' && 'columns' in given ? given : { columns: given }

/** What stands for nothing in the usual exports of tables. */
const nothing = new Set(['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None'])

const isMissing = ({ as }: Plan, text: string) => as !== 'text' && (as === 'class' ? text === '' : nothing.has(text))

/** Whether a field that some tensor needs is empty. */
export const hasMissing = (plans: readonly Plan[], record: readonly string[]): boolean =>
  plans.some((plan) => plan.columns.some(({ at }) => isMissing(plan, record[at]!)))

/** A field that is not what its tensor holds; the reader adds file and line. */
export class FieldError extends Error {}

/**
 * The element that a field makes: a number, a bigint for int64, a text.
 * @param substitute for an empty field of numbers
 */
export function elementFrom(
  plan: Plan,
  { name, at }: Field,
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
