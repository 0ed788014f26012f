import type { WithClassNames } from '../../data/classes.js'
import type { Dataset } from '../../data/dataset.js'
import { type CsvFile, type CsvOptions, parseCsvDataset } from '../../data/formats/csv.js'
import { type CsvParseError, csvParserOptions, explainCsvError, LineCounter } from '../../data/formats/csv-parser.js'
import { parseIdx } from '../../data/formats/idx.js'
import { isJsonList, parseJsonList, parseJsonRow } from '../../data/formats/json-rows.js'
import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import { nameOf, readData, type Source, withSourceName } from '../files/source.js'

/**
 * Reads a CSV file in UTF-8 into memory. gzip is detected by the content, not by the name.
 *
 * ```ts
 * const iris = await readCsv(file, { tensors: { input: '*', label: { columns: 'species', as: 'class' } } })
 * iris.classes.label // ['setosa', 'versicolor', 'virginica']
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming file, line and column
 */
export async function readCsv(source: Source, options: CsvOptions): Promise<Dataset & WithClassNames> {
  const [bytes, parse] = await Promise.all([readData(source), parser()])
  return parseCsvDataset(fileOf(nameOf(source), bytes, parse), options)
}

type Parse = Awaited<ReturnType<typeof parser>>
/** Loads the CSV parser with the first file. */
const parser = async () => (await import('csv-parse/browser/esm/sync')).parse

function fileOf(path: string, bytes: Uint8Array, parse: Parse): CsvFile {
  const lineAt = (offset: number) => {
    const lines = new LineCounter(offset)
    lines.advance(bytes)
    return lines.line
  }
  const text = decodeText(path, bytes, true)
  const parsed = <R>(delimiter: string, info: boolean): R[] => {
    try {
      return parse(text, { ...csvParserOptions, delimiter, info }) as R[]
    } catch (cause) {
      if (!(cause instanceof Error && 'code' in cause)) throw cause
      const { offset, reason } = explainCsvError(cause as Error & CsvParseError)
      throw new OnnxIreError('invalid-data', `${path}:${lineAt(offset)}: ${reason}`, { cause })
    }
  }
  let records: { readonly delimiter: string; readonly all: string[][] } | undefined
  return {
    path,
    async *records(delimiter) {
      if (records?.delimiter !== delimiter) records = { delimiter, all: parsed(delimiter, false) }
      yield* records.all
    },
    async lineOf(delimiter, record) {
      const all = parsed<{ readonly info: { readonly bytes: number } }>(delimiter, true)
      return lineAt(all[record]!.info.bytes - 1)
    },
  }
}

/** Decodes UTF-8. Throws `invalid-data` naming a file with other bytes. */
function decodeText(name: string, bytes: Uint8Array, ignoreBOM: boolean): string {
  try {
    return new TextDecoder('utf-8', { ignoreBOM, fatal: true }).decode(bytes)
  } catch (cause) {
    throw new OnnxIreError('invalid-data', `${name}: the file is not UTF-8; convert it`, { cause })
  }
}

/**
 * Reads a file in IDX format (MNIST, Fashion-MNIST). gzip is detected by the content, not by the name.
 * @throws OnnxIreError `io` if it cannot be read, `invalid-data` if it is damaged or not an IDX file, both naming it
 */
export async function readIdx(source: Source): Promise<Tensor> {
  const bytes = await readData(source)
  return withSourceName(source, () => parseIdx(bytes))
}

/**
 * Reads the rows of a data file: a JSON value per line, or one list in a file whose name ends in .json or .json.gz.
 * Blank lines are skipped, and gzip is detected by the content. For `chatData`.
 * @throws OnnxIreError `io`, or `invalid-data` naming file and line
 * @example
 * const data = chatData(await readJsonRows(input.files[0]), chat) // <input type="file" accept=".jsonl">
 */
export async function readJsonRows(source: Source): Promise<unknown[]> {
  const name = nameOf(source)
  const text = decodeText(name, await readData(source), false)
  if (isJsonList(name)) return parseJsonList(text, name)
  return text.split('\n').flatMap((line, i) => (line.trim() === '' ? [] : [parseJsonRow(line, `${name}:${i + 1}`)]))
}
