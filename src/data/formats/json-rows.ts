import { OnnxIreError } from '../../util/errors.js'

/** Parses a row of a data file. Throws `invalid-data` with the place, such as `support.jsonl:3`. */
export function parseJsonRow(text: string, at: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new OnnxIreError('invalid-data', `${at}: not valid JSON: ${(cause as Error).message}`, { cause })
  }
}

/** Whether a file has one list of rows, by its name. */
export const isJsonList = (name: string): boolean => /\.json(\.gz)?$/i.test(name)

/** Parses a file that holds one list of rows. Throws `invalid-data` naming the file. */
export function parseJsonList(text: string, name: string): unknown[] {
  const value = parseJsonRow(text, name)
  if (Array.isArray(value)) return value
  throw new OnnxIreError('invalid-data', `${name}: the file must have a list; name files with a value per line .jsonl`)
}
