import { OnnxIreError } from '../errors.js'

/** One or several name patterns; `*` stands for any run of characters, everything else for itself. */
export type Patterns = string | readonly string[]

/** Whether a name fits one of the patterns. */
export function matcher(patterns: Patterns): (name: string) => boolean {
  const expressions = [patterns]
    .flat()
    .map((pattern) => new RegExp(`^${pattern.split('*').map(escaped).join('.*')}$`, 's'))
  return (name) => expressions.some((expression) => expression.test(name))
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** The names that fit. Throws `invalid-option` when none does: a misspelt pattern would otherwise train nothing, silently. */
export function matching(patterns: Patterns, names: Iterable<string>, what: string): string[] {
  const all = [...names]
  const fits = matcher(patterns)
  const found = all.filter(fits)
  if (found.length > 0) return found
  const shown = all.slice(0, 5).join(', ')
  throw new OnnxIreError(
    'invalid-option',
    `no ${what} fits ${[patterns]
      .flat()
      .map((pattern) => `'${pattern}'`)
      .join(', ')}; ${all.length === 0 ? 'there is none' : `the first of ${all.length} are ${shown}`}`,
  )
}
