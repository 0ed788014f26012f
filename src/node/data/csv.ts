import { pipeline, Readable } from 'node:stream'
import { CsvError, type Options, parse } from 'csv-parse'
import type { WithClassNames } from '../../data/classes.js'
import type { Dataset } from '../../data/dataset.js'
import {
  type CsvFile,
  type CsvOptions,
  parseCsvDataset,
  parseCsvStream,
  type StreamCsvOptions,
} from '../../data/formats/csv.js'
import { type CsvParseError, csvParserOptions, explainCsvError, LineCounter } from '../../data/formats/csv-parser.js'
import type { ExampleStream } from '../../data/stream.js'
import type { CsvSource } from '../../recipe/sources/tables.js'
import { OnnxIreError } from '../../util/errors.js'
import { iterateBytes } from './bytes.js'
import { checksumFiles } from './checksum-files.js'
import { addClassNames, type OpenContext, type OpenedSource, selectTensors } from './data-source.js'
import { iterateUtf8 } from './lines.js'

/**
 * Reads a CSV file in UTF-8, optionally gzipped, into memory.
 *
 * ```ts
 * const iris = await readCsv('iris.csv', { tensors: { input: '*', label: { columns: 'species', as: 'class' } } })
 * iris.classes.label // ['setosa', 'versicolor', 'virginica']
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming file, line and column
 */
export const readCsv = (path: string, options: CsvOptions): Promise<Dataset & WithClassNames> =>
  parseCsvDataset(csvFile(path), options)

/**
 * Streams a CSV file of any size during training. If class names are missing from the options, the file is read once
 * first to collect the names and count the examples.
 * @throws OnnxIreError like `readCsv`; errors of a record when it is reached
 */
export const streamCsv = async (path: string, options: StreamCsvOptions): Promise<ExampleStream & WithClassNames> => ({
  ...(await parseCsvStream(csvFile(path), options)),
  checksum: checksumFiles([path]),
})

const csvFile = (path: string): CsvFile => ({
  path,
  records: (delimiter) => iterateRecords(path, delimiter),
  lineOf: (delimiter, record) => findLine(path, delimiter, record),
})

/**
 * Iterates over the records of a CSV file in UTF-8 (RFC 4180: quotes, line ends within quotes; LF or CRLF; a byte
 * order mark), starting with the header. Empty lines are skipped. All records have the same number of fields.
 * @throws OnnxIreError `io`, or `invalid-data` naming file and line
 */
export async function* iterateRecords(path: string, delimiter: string): AsyncGenerator<string[], void, undefined> {
  yield* parseRecords<string[]>(path, delimiter, {})
}

/**
 * Finds the last line of record `number` (from 0, including the header). Reads the file again, because recording the
 * line of every record would double the reading time.
 */
async function findLine(path: string, delimiter: string, number: number): Promise<number> {
  let at = 0
  for await (const { info } of parseRecords<{ readonly info: { readonly bytes: number } }>(path, delimiter, {
    info: true,
  }))
    if (at++ === number) return lineAtOffset(path, info.bytes - 1)
  return lineAtOffset(path, Number.POSITIVE_INFINITY)
}

async function lineAtOffset(path: string, offset: number): Promise<number> {
  const lines = new LineCounter(offset)
  for await (const block of iterateBytes(path)) if (!lines.advance(block)) break
  return lines.line
}

async function* parseRecords<R>(path: string, delimiter: string, options: Options): AsyncGenerator<R, void, undefined> {
  const parser = parse({ ...csvParserOptions, delimiter, ...options })
  const blocks = iterateUtf8(path, async (offset) => {
    const line = await lineAtOffset(path, offset)
    return new OnnxIreError('invalid-data', `${path}:${line}: the line is not UTF-8; convert the file`)
  })
  try {
    yield* pipeline(Readable.from(blocks), parser, () => {})
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    const { offset, reason } = explainCsvError(cause as CsvParseError)
    throw new OnnxIreError('invalid-data', `${path}:${await lineAtOffset(path, offset)}: ${reason}`, { cause })
  }
}

/** Opens a CSV file for a recipe. */
export async function openCsv(source: CsvSource, context: OpenContext): Promise<OpenedSource> {
  const { kind: _, file, stream = false, shuffleBuffer, start: __, end: ___, ...rest } = source
  const tensors = await addClassNames(selectTensors(source.tensors, context), needsClassNames, context)
  const statistics = source.statistics ?? (await context.statistics?.())
  const options = { ...rest, tensors, statistics }
  const data = stream ? await streamCsv(file, { ...options, shuffleBuffer }) : await readCsv(file, options)
  return { data, classes: data.classes }
}

const needsClassNames = (tensor: CsvSource['tensors'][string]): boolean =>
  typeof tensor === 'object' && 'columns' in tensor && tensor.as === 'class' && tensor.classes === undefined
