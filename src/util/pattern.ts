import { OnnxIreError } from './errors.js'

/** One or several name patterns; `*` stands for any run of characters, everything else for itself. */
export type NamePatterns = string | readonly string[]

/** Whether a name fits one of the patterns. */
export function createMatcher(patterns: NamePatterns): (name: string) => boolean {
  const expressions = [patterns]
    .flat()
    .map((pattern) => new RegExp(`^${pattern.split('*').map(escaped).join('.*')}$`, 's'))
  return (name) => expressions.some((expression) => expression.test(name))
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** The names that fit. Throws `invalid-option` for a pattern that no name fits: misspelt, it would be ignored in silence. */
export function matchNames(patterns: NamePatterns, names: Iterable<string>, what: string): string[] {
  const all = [...names]
  const idle = [patterns].flat().filter((pattern) => !all.some(createMatcher(pattern)))
  if (idle.length === 0) return all.filter(createMatcher(patterns))
  const shown = all.slice(0, 5).join(', ')
  throw new OnnxIreError(
    'invalid-option',
    `no ${what} fits ${idle.map((pattern) => `'${pattern}'`).join(', ')}; ${all.length === 0 ? 'there is none' : `the first of ${all.length} are ${shown}`}`,
  )
}
