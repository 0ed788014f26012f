import { InvalidArgumentError } from 'commander'

/** Parses a count. */
export const wholeNumber = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('give a whole number of at least 1')
  return value
}

/** Parses a list of known names, separated by commas; 'none' is none. */
export const someOf = (known: readonly string[]) => (text: string) => {
  const names = text === 'none' ? [] : text.split(',')
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new InvalidArgumentError(`'${unknown}' is none of ${known.join(', ')}`)
  return names
}
