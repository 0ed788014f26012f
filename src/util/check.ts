import { OnnxIreError } from './errors.js'

/** Range of the numbers an option allows. Bounds are inclusive, except the maximum with `open: 'max'`. */
export interface Range {
  readonly min: number
  readonly max: number
  readonly open?: 'max'
  readonly integer?: true
}

export const nonNegative: Range = { min: 0, max: Number.MAX_VALUE }
export const unit: Range = { min: 0, max: 1 }
export const belowOne: Range = { min: 0, max: 1, open: 'max' }
export const count: Range = { min: 0, max: Number.MAX_SAFE_INTEGER, integer: true }
export const positiveCount: Range = { min: 1, max: Number.MAX_SAFE_INTEGER, integer: true }

const describe = ({ min, max, open, integer }: Range): string => {
  const kind = integer ? 'an integer' : 'a number'
  return max >= Number.MAX_SAFE_INTEGER ? `${kind} >= ${min}` : `${kind} in [${min}, ${max}${open ? ')' : ']'}`
}

/** Describes a value of a wrong type for a message; functions and promises with the way to their result. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (typeof value === 'function') {
    const name = value.name || 'f'
    return `the function ${name}, which has to be called: ${name}(...)`
  }
  if (typeof value !== 'object' || value === null) return String(value)
  if (typeof (value as { readonly then?: unknown }).then === 'function') return 'a promise, which has to be awaited'
  if (Array.isArray(value)) return `[${value.map((item) => (typeof item === 'object' ? '{...}' : String(item)))}]`
  const owner = Object.getPrototypeOf(value)?.constructor?.name ?? 'Object'
  return owner === 'Object'
    ? `an object with ${Object.keys(value).join(', ') || 'no keys'}`
    : `an object of the class ${owner}`
}

/** Whether a value is a list of strings. */
export const isStringList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string')

/** Creates the 'invalid-option' error of an option: its owner, its name, the given value and the allowed values. */
export const invalidOption = (owner: string, name: string, value: unknown, allowed: string): OnnxIreError =>
  new OnnxIreError('invalid-option', `${owner}: option '${name}' is ${describeValue(value)}; it must be ${allowed}`)

/** Returns a finite number within `range`; throws `invalid-option` for any other value. */
export function checkNumber(owner: string, name: string, value: number, range: Range): number {
  const { min, max, open, integer } = range
  const inside = Number.isFinite(value) && value >= min && (open ? value < max : value <= max)
  if (!inside || (integer && !Number.isSafeInteger(value))) throw invalidOption(owner, name, value, describe(range))
  return value
}

/** Returns a boolean; throws `invalid-option` for any other value. */
export function checkBoolean(owner: string, name: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw invalidOption(owner, name, value, 'true or false')
  return value
}

/**
 * Throws `invalid-option` for a call without one of its arguments.
 * @param call the complete call, for the message
 * @param given the arguments to check, by name
 */
export function checkArguments(call: string, given: Readonly<Record<string, unknown>>): void {
  const missing = Object.entries(given).find(([, value]) => value === undefined)
  if (!missing) return
  const owner = call.slice(0, call.indexOf('('))
  throw new OnnxIreError('invalid-option', `${owner}: the argument '${missing[0]}' is missing; the call is ${call}`)
}

/** Throws `invalid-option` for misspelled options, which would otherwise be ignored silently. */
export function checkNames(owner: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null)
    throw new OnnxIreError(
      'invalid-option',
      `${owner}: the options are ${describeValue(options)}; pass an object with ${known.join(', ')}`,
    )
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw new OnnxIreError('invalid-option', `${owner}: there is no option '${name}'; available: ${known.join(', ')}`)
}
