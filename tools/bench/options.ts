import { InvalidArgumentError } from 'commander'

/** Parses a positive integer. */
export const wholeNumber = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be an integer of at least 1.')
  return value
}

/** Returns a parser of comma-separated names, all from `known`; 'none' is the empty list. */
export const someOf = (known: readonly string[]) => (text: string) => {
  const names = text === 'none' ? [] : text.split(',')
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new InvalidArgumentError(`'${unknown}' is unknown. Allowed: ${known.join(', ')}, or none.`)
  return names
}
