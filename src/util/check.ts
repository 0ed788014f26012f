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

/** Creates the 'invalid-option' error of an option: its owner, its name, the given value and the allowed values. */
export const invalidOption = (owner: string, name: string, value: unknown, allowed: string): OnnxIreError => {
  const shown = typeof value === 'string' ? `'${value}'` : String(value)
  return new OnnxIreError('invalid-option', `${owner}: option '${name}' is ${shown}; it must be ${allowed}`)
}

/** Returns a finite number within `range`; throws 'invalid-option' for any other value. */
export function checkNumber(owner: string, name: string, value: number, range: Range): number {
  const { min, max, open, integer } = range
  const inside = Number.isFinite(value) && value >= min && (open ? value < max : value <= max)
  if (!inside || (integer && !Number.isSafeInteger(value))) throw invalidOption(owner, name, value, describe(range))
  return value
}

/** Returns a boolean; throws 'invalid-option' for any other value. */
export function checkBoolean(owner: string, name: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw invalidOption(owner, name, value, 'true or false')
  return value
}

/** Throws 'invalid-option' for misspelled options, which would otherwise be ignored silently. */
export function checkNames(owner: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw new OnnxIreError('invalid-option', `${owner}: there is no option '${name}'; available: ${known.join(', ')}`)
}
