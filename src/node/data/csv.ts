import { pipeline, Readable } from 'node:stream'
import { CsvError, type Options, parse } from 'csv-parse'
import type { WithClassNames } from '../../data/class-names.js'
import type { Dataset } from '../../data/dataset.js'
import {
  type CsvFile,
  type CsvOptions,
  parseCsvDataset,
  parseCsvStream,
  type StreamCsvOptions,
} from '../../data/formats/csv.js'
import { type CsvParseError, csvParserOptions, explainCsvError, LineCounter } from '../../data/formats/csv-errors.js'
import type { ExampleStream } from '../../data/stream.js'
import type { CsvSource } from '../../recipe/sources/csv.js'
import { OnnxIreError } from '../../util/errors.js'
import { iterateBytes } from './bytes.js'
import { addClassNames, type OpenContext, type OpenedSource } from './data-source.js'

/**
 * Reads a CSV file into memory; compressed with gzip or not, whatever its name.
 *
 * ```ts
 * const iris = await readCsv('iris.csv', { tensors: { input: '*', label: { columns: 'species', as: 'class' } } })
 * iris.classes.label // ['setosa', 'versicolor', 'virginica']
 * ```
 * @throws 'io', 'invalid-option', or 'invalid-data' naming file, line and column
 */
export const readCsv = (path: string, options: CsvOptions): Promise<Dataset & WithClassNames> =>
  parseCsvDataset(fileAt(path), options)

/**
 * Reads a CSV file as it is trained on, however large. Class names that are not given are gathered at once, which reads the
 * file through and counts its examples, too.
 * @throws as `readCsv`; what concerns a record, when its turn comes
 */
export const streamCsv = (path: string, options: StreamCsvOptions): Promise<ExampleStream & WithClassNames> =>
  parseCsvStream(fileAt(path), options)

const fileAt = (path: string): CsvFile => ({
  path,
  records: (delimiter) => recordsOf(path, delimiter),
  lineOf: (delimiter, record) => lineOf(path, delimiter, record),
})

/**
 * The records of a CSV file (RFC 4180: quotes, line ends within them; LF or CRLF; a byte order mark), empty lines left out,
 * the header being the first. All have as many fields.
 * @throws 'io', or 'invalid-data' naming file and line
 */
async function* recordsOf(path: string, delimiter: string): AsyncGenerator<string[], void, undefined> {
  yield* parsed<string[]>(path, delimiter, {})
}

/** The line on which record `number` (from 0, header included) ends: read again, since to note it for each takes as long as reading. */
async function lineOf(path: string, delimiter: string, number: number): Promise<number> {
  let at = 0
  for await (const { info } of parsed<{ readonly info: { readonly bytes: number } }>(path, delimiter, { info: true }))
    if (at++ === number) return lineAt(path, info.bytes - 1)
  return lineAt(path, Number.POSITIVE_INFINITY)
}

async function lineAt(path: string, offset: number): Promise<number> {
  const lines = new LineCounter(offset)
  for await (const block of iterateBytes(path)) if (!lines.advance(block)) break
  return lines.line
}

async function* parsed<R>(path: string, delimiter: string, options: Options): AsyncGenerator<R, void, undefined> {
  const parser = parse({ ...csvParserOptions, delimiter, ...options })
  try {
    yield* pipeline(Readable.from(iterateBytes(path)), parser, () => {})
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    const { offset, reason } = explainCsvError(cause as CsvParseError)
    throw new OnnxIreError('invalid-data', `${path}:${await lineAt(path, offset)}: ${reason}`, { cause })
  }
}

/** Opens a CSV file for a recipe. */
export async function openCsv(source: CsvSource, context: OpenContext): Promise<OpenedSource> {
  const { kind: _, file, stream = false, shuffleBuffer, start: __, end: ___, ...options } = source
  const tensors = await addClassNames(source.tensors, needsClassNames, context)
  const data = stream
    ? await streamCsv(file, { ...options, tensors, shuffleBuffer })
    : await readCsv(file, { ...options, tensors })
  return { data, classes: data.classes }
}

const needsClassNames = (tensor: CsvSource['tensors'][string]): boolean =>
  typeof tensor === 'object' && 'columns' in tensor && tensor.as === 'class' && tensor.classes === undefined
