import { readFile } from 'node:fs/promises'
import { readError } from '../node/files.js'
import { parseJson } from '../recipe/parse.js'
import { OnnxIreError } from '../util/errors.js'

/** Reads the names of classes: a JSON list, or `classes.json` of a run folder where it has one. Throws `io`, `invalid-data`. */
export async function readClassNames(path: string): Promise<readonly string[]> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw readError('class names', path, cause)
  })
  const value = parseJson(text)
  const lists = Array.isArray(value) ? [value] : Object.values(Object(value))
  const [names] = lists
  if (lists.length === 1 && Array.isArray(names) && names.every((name) => typeof name === 'string')) return names
  throw new OnnxIreError('invalid-data', `${path} holds no list of class names, or several; write ["cat", "dog", ...]`)
}
