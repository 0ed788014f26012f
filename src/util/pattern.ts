import { OnnxIreError } from './errors.js'

/** One or several patterns of names; `*` matches any sequence of characters, other characters match themselves. */
export type NamePatterns = string | readonly string[]

/** Names to select: those that match patterns, or that match `include` (default: all) and not `exclude`. */
export type NameSelection = NamePatterns | { readonly include?: NamePatterns; readonly exclude?: NamePatterns }

/** Creates a predicate that tests whether a name is selected. */
export function createSelector(selection: NameSelection): (name: string) => boolean {
  const { include = '*', exclude = [] } = toIncludeAndExclude(selection)
  const [isIncluded, isExcluded] = [createMatcher(include), createMatcher(exclude)]
  return (name) => isIncluded(name) && !isExcluded(name)
}

/** The patterns of a selection that include names; undefined for all. */
export const includedPatterns = (selection: NameSelection): NamePatterns | undefined =>
  toIncludeAndExclude(selection).include

/** Selects names. Throws `invalid-option` for a pattern without a match. */
export function selectNames(selection: NameSelection, names: Iterable<string>, what: string): string[] {
  const all = [...names]
  const { include, exclude } = toIncludeAndExclude(selection)
  for (const patterns of [include, exclude]) if (patterns !== undefined) matchNames(patterns, all, what)
  return all.filter(createSelector(selection))
}

/** The patterns of a selection; undefined for all names, and for none. */
export const toIncludeAndExclude = (selection: NameSelection) =>
  typeof selection === 'string' || isList(selection) ? { include: selection, exclude: undefined } : selection

const isList = (selection: NameSelection): selection is readonly string[] => Array.isArray(selection)

/** Creates a predicate that tests whether a name matches one of the patterns. */
export function createMatcher(patterns: NamePatterns): (name: string) => boolean {
  const split = [patterns].flat().map((pattern) => pattern.split('*'))
  return (name) => split.some((texts) => matchTexts(texts, name))
}

/**
 * Whether a name consists of these texts in their order, with any characters between them. The first occurrence of
 * each text leaves the most characters for the others, so nothing is tried twice.
 */
function matchTexts(texts: readonly string[], name: string): boolean {
  const [first, last] = [texts[0]!, texts.at(-1)!]
  if (texts.length === 1) return name === first
  const end = name.length - last.length
  let at = first.length
  if (at > end || !name.startsWith(first) || !name.endsWith(last)) return false
  for (const text of texts.slice(1, -1)) {
    const found = name.indexOf(text, at)
    if (found < 0 || found + text.length > end) return false
    at = found + text.length
  }
  return true
}

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
