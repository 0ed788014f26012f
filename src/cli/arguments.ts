import { InvalidArgumentError } from 'commander'

/** For an option that may be repeated. */
export const collected = (value: string, before: readonly string[]): string[] => [...before, value]

/** A list with commas between its items. */
export function listed(text: string): string[] {
  const items = text.split(',').map((item) => item.trim())
  if (!items.includes('')) return items
  throw new InvalidArgumentError('It must be a list with commas between its items.')
}

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('It must be a whole number from 1 on.')
}

export function seconds(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0) return value
  throw new InvalidArgumentError('It must be a number of seconds above 0.')
}
