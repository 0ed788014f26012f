import { ClassNames } from '../../data/classes.js'
import { tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { checkNames, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

/** Conversion of a field of a JSON line to a tensor. */
export interface JsonField {
  /** Name of the field; dots separate nested fields: 'meta.length'. */
  readonly field: string
  /**
   * 'number' (default): float32; 'integer': int64; both from a number or nested lists of numbers. 'class': the int64
   * number of a class name. 'text': a string.
   */
  readonly as?: 'number' | 'integer' | 'class' | 'text' | undefined
  /** Class names in the order of their numbers, for 'class'. Default: the names in the file, sorted. */
  readonly classes?: readonly string[] | undefined
}

/** The field of a tensor: the name of a field of numbers, or a `JsonField`. */
export type JsonTensor = string | JsonField

/** A checked `JsonTensor`. */
export interface FieldPlan {
  readonly name: string
  readonly field: string
  readonly as: NonNullable<JsonField['as']>
  readonly classes: ClassNames | null
}

const kinds = ['number', 'integer', 'class', 'text']

/** Checks the tensors of the options. Throws 'invalid-option'. */
export function parseFieldPlans(tensors: Readonly<Record<string, JsonTensor>>): FieldPlan[] {
  const plans = Object.entries(tensors).map(([name, given]): FieldPlan => {
    const options = typeof given === 'string' ? { field: given } : given
    const owner = `jsonl: tensor '${name}'`
    checkNames(owner, options, ['field', 'as', 'classes'])
    const { field, as = 'number', classes } = options
    if (typeof field !== 'string') throw invalidOption(owner, 'field', field, 'the name of a field')
    if (!kinds.includes(as)) throw invalidOption(owner, 'as', as, `one of ${kinds.join(', ')}`)
    if (classes && as !== 'class') throw invalidOption(owner, 'classes', classes, "left out, unless as is 'class'")
    return { name, field, as, classes: as === 'class' ? new ClassNames(classes) : null }
  })
  if (plans.length === 0) throw new OnnxIreError('invalid-option', "jsonl: option 'tensors' names no tensor")
  return plans
}

/**
 * Converts the field of one line to a tensor. Throws 'invalid-data' naming the field; the caller adds file and line.
 */
export function toTensor({ field, as, classes }: FieldPlan, line: unknown): Tensor {
  const fieldError = (what: string) => new OnnxIreError('invalid-data', `field '${field}' ${what}`)
  const value = findField(line, field)
  if (value === undefined) throw fieldError('is missing')
  if (as === 'text') {
    if (typeof value === 'string') return { dtype: 'string', dims: [], data: [value] }
    throw fieldError(`is ${abbreviate(value)}, not a string`)
  }
  if (classes) {
    if (!['string', 'number', 'boolean'].includes(typeof value))
      throw fieldError(`is ${abbreviate(value)}, not a class name`)
    return { dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(classes.numberOf(String(value), fieldError))) }
  }
  const dims: number[] = []
  for (let level = value; Array.isArray(level); level = level[0]) dims.push(level.length)
  const numbers: number[] = []
  const collect = (part: unknown, depth: number): void => {
    if (depth < dims.length) {
      if (!Array.isArray(part) || part.length !== dims[depth])
        throw fieldError(
          `has lists of different length where [${dims.join(', ')}] began: only the first axis can be padded`,
        )
      for (const each of part) collect(each, depth + 1)
      return
    }
    if (typeof part !== 'number' || (as === 'integer' && !Number.isSafeInteger(part)))
      throw fieldError(
        `${dims.length > 0 ? 'holds' : 'is'} ${abbreviate(part)}, not ${as === 'integer' ? 'an integer' : 'a number'}`,
      )
    numbers.push(part)
  }
  collect(value, 0)
  return tensorFrom(as === 'integer' ? 'int64' : 'float32', dims, numbers)
}

/** Value of the field with this name, or of the nested field that its dots describe. */
function findField(value: unknown, field: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  const entries = new Map(Object.entries(value))
  if (entries.has(field)) return entries.get(field)
  const dot = field.indexOf('.')
  return dot < 0 ? undefined : findField(entries.get(field.slice(0, dot)), field.slice(dot + 1))
}

function abbreviate(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 40)}...` : text
}
