import { OnnxIreError } from '../../util/errors.js'
import { decodeUtf8 } from '../../util/utf8.js'
import { readRegularFile } from '../files/files.js'
import { iterateLines } from './lines.js'

/**
 * Reads the rows of a data file: a JSON value per line, or one list in a file whose name ends in .json. Blank lines are
 * skipped. For `chatData`.
 * @throws 'io', or 'invalid-data' naming file and line
 * @example
 * const data = chatData(await readJsonRows('support.jsonl'), chat)
 */
export async function readJsonRows(path: string): Promise<unknown[]> {
  const parse = (text: string, at: string): unknown => {
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw new OnnxIreError('invalid-data', `${at}: not valid JSON: ${(cause as Error).message}`, { cause })
    }
  }
  if (path.endsWith('.json')) {
    const value = parse(decodeUtf8(await readRegularFile('data', path)), path)
    if (Array.isArray(value)) return value
    throw new OnnxIreError(
      'invalid-data',
      `${path}: the file must have a list; name files with a value per line .jsonl`,
    )
  }
  const rows: unknown[] = []
  for await (const { number, text } of iterateLines(path))
    if (text.trim() !== '') rows.push(parse(text, `${path}:${number}`))
  return rows
}
