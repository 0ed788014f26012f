import { readdir } from 'node:fs/promises'
import { closest } from '../../util/closest.js'
import { OnnxIreError } from '../../util/errors.js'

/** Names of the JSON files in a folder of the package, without the extension; numbers in names in numeric order. */
export async function shippedNames(folder: URL): Promise<string[]> {
  const files = await readdir(folder)
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}

/**
 * Checks that a name is one of `names`. Throws `invalid-option` with the most similar name.
 * @param kind the kind of thing that is named, for the message
 * @param hint how to list the names
 */
export function checkShippedName(name: string, names: readonly string[], kind: string, hint: string): void {
  if (names.includes(name)) return
  const similar = closest(name, names)
  const suggestion = similar === undefined ? '' : `, did you mean '${similar}'?`
  throw new OnnxIreError('invalid-option', `there is no ${kind} '${name}'${suggestion}; ${hint}`)
}
