import { isJsonList, parseJsonList, parseJsonRow } from '../../data/formats/json-rows.js'
import { iterateLines } from './lines.js'
import { readText } from './text.js'

/**
 * Reads the rows of a data file: a JSON value per line, or one list in a file whose name ends in .json or .json.gz.
 * Blank lines are skipped. For `chatData`.
 * @throws OnnxIreError `io`, or `invalid-data` naming file and line
 * @example
 * const data = chatData(await readJsonRows('support.jsonl'), chat)
 */
export async function readJsonRows(path: string): Promise<unknown[]> {
  if (isJsonList(path)) return parseJsonList(await readText(path), path)
  const rows: unknown[] = []
  for await (const { number, text } of iterateLines(path))
    if (text.trim() !== '') rows.push(parseJsonRow(text, `${path}:${number}`))
  return rows
}
