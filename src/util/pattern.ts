import { OnnxIreError } from './errors.js'

/** One or several patterns of names; `*` matches any sequence of characters, other characters match themselves. */
export type NamePatterns = string | readonly string[]

/** Creates a predicate that tests whether a name matches one of the patterns. */
export function createMatcher(patterns: NamePatterns): (name: string) => boolean {
  const expressions = [patterns]
    .flat()
    .map((pattern) => new RegExp(`^${pattern.split('*').map(escapePattern).join('.*')}$`, 's'))
  return (name) => expressions.some((expression) => expression.test(name))
}

const escapePattern = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/**
 * Selects the matching names. Throws `invalid-option` for a pattern without a match, since a misspelled one would be
 * ignored.
 */
export function matchNames(patterns: NamePatterns, names: Iterable<string>, what: string): string[] {
  const all = [...names]
  const unmatched = [patterns].flat().filter((pattern) => !all.some(createMatcher(pattern)))
  if (unmatched.length === 0) return all.filter(createMatcher(patterns))
  const shown = all.slice(0, 5).join(', ')
  throw new OnnxIreError(
    'invalid-option',
    `no ${what} matches ${unmatched.map((pattern) => `'${pattern}'`).join(', ')}; ${all.length === 0 ? 'there are no names' : `the first of ${all.length} names are ${shown}`}`,
  )
}
