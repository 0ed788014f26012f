import { ClassNames } from '../../data/class-names.js'
import { tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { checkNames, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

/** How a field makes a tensor. */
export interface JsonField {
  /** Name of the field; dots lead into objects: 'meta.length'. */
  readonly field: string
  /**
   * 'number' (default) for float32 and 'integer' for int64, of a number or of lists of them, lists of lists ...;
   * 'class' for the int64 number of a class name; 'text' for a string.
   */
  readonly as?: 'number' | 'integer' | 'class' | 'text' | undefined
  /** Of 'class': the names in the order of their numbers. Default: those of the file, sorted. */
  readonly classes?: readonly string[] | undefined
}

/** Which field makes a tensor: by its name alone it is numbers. */
export type JsonTensor = string | JsonField

export interface FieldPlan {
  readonly name: string
  readonly field: string
  readonly as: NonNullable<JsonField['as']>
  readonly classes: ClassNames | null
}

const kinds = ['number', 'integer', 'class', 'text']

/** Checks what is asked for. Throws 'invalid-option'. */
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

/** The tensor of one line. Throws 'invalid-data' naming the field; the reader adds file and line. */
export function toTensor({ field, as, classes }: FieldPlan, line: unknown): Tensor {
  const refuse = (what: string) => new OnnxIreError('invalid-data', `field '${field}' ${what}`)
  const value = found(line, field)
  if (value === undefined) throw refuse('is not there')
  if (as === 'text') {
    if (typeof value === 'string') return { dtype: 'string', dims: [], data: [value] }
    throw refuse(`is ${shown(value)}, not a text`)
  }
  if (classes) {
    if (!['string', 'number', 'boolean'].includes(typeof value)) throw refuse(`is ${shown(value)}, not a class name`)
    return { dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(classes.numberOf(String(value), refuse))) }
  }
  const dims: number[] = []
  for (let level = value; Array.isArray(level); level = level[0]) dims.push(level.length)
  const numbers: number[] = []
  const gather = (part: unknown, depth: number): void => {
    if (depth < dims.length) {
      if (!Array.isArray(part) || part.length !== dims[depth])
        throw refuse(
          `has lists of different length where [${dims.join(', ')}] began: only the first axis can be padded`,
        )
      for (const each of part) gather(each, depth + 1)
      return
    }
    if (typeof part !== 'number' || (as === 'integer' && !Number.isSafeInteger(part)))
      throw refuse(
        `${dims.length > 0 ? 'holds' : 'is'} ${shown(part)}, not a ${as === 'integer' ? 'whole ' : ''}number`,
      )
    numbers.push(part)
  }
  gather(value, 0)
  return tensorFrom(as === 'integer' ? 'int64' : 'float32', dims, numbers)
}

/** The field of this name, or else the one its dots lead to. */
function found(value: unknown, field: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  const entries = new Map(Object.entries(value))
  if (entries.has(field)) return entries.get(field)
  const dot = field.indexOf('.')
  return dot < 0 ? undefined : found(entries.get(field.slice(0, dot)), field.slice(dot + 1))
}

function shown(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 40)}...` : text
}
