import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { type ExampleStream, stream } from '../../data/stream.js'
import { checkNames } from '../../util/check.js'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { codeOf, openRegularFile, readError } from '../files/files.js'
import { checksumFiles } from './checksum-files.js'

/** A text of a parquet file and the index of its row. */
export interface ParquetText {
  readonly row: number
  readonly text: string
}

/**
 * Iterates over the texts in a column of a parquet file of any size, with one row group in memory at a time. Null
 * values are skipped. Compression may be Snappy, gzip, Zstandard, Brotli or LZ4.
 * @throws OnnxIreError `io`, or `invalid-data` naming a column that is missing or holds no text, or damaged rows
 */
export async function* parquetTexts(path: string, column: string): AsyncGenerator<ParquetText, void, undefined> {
  await (await openRegularFile('data file', path)).close()
  const file = await asyncBufferFromFile(path).catch((cause) => {
    throw readError('data file', path, cause)
  })
  const metadata = await readMetadata(path, file)
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name)
  if (!columns.includes(column))
    throw new OnnxIreError('invalid-data', `${path} has no column '${column}'; its columns are ${columns.join(', ')}`)
  let start = 0
  for (const [group, { num_rows }] of metadata.row_groups.entries()) {
    const end = start + Number(num_rows)
    const place = `${path}: row group ${group} (rows ${start} to ${end - 1})`
    const rows = await parquetReadObjects({
      file,
      metadata,
      compressors,
      columns: [column],
      rowStart: start,
      rowEnd: end,
    }).catch((cause) => {
      throw toError(place, path, cause)
    })
    if (rows.length !== end - start)
      throw new OnnxIreError('invalid-data', `${place} has ${rows.length} rows; the file is damaged`)
    for (const [i, row] of rows.entries()) {
      const text: unknown = getOwn(row, column)
      if (text === null || text === undefined) continue
      if (typeof text !== 'string')
        throw new OnnxIreError('invalid-data', `${path}: row ${start + i} of column '${column}' is not a string`)
      yield { row: start + i, text }
    }
    start = end
  }
}

/** Streams the texts of parquet files, one example each: a string under `text`, like `streamLines`. */
export function streamParquet(
  paths: string | readonly string[],
  options: { readonly column: string; readonly text?: string; readonly shuffleBuffer?: number },
): ExampleStream {
  checkNames('streamParquet', options, ['column', 'text', 'shuffleBuffer'])
  const { column, text: name = 'text', shuffleBuffer } = options
  async function* examples() {
    for (const path of [paths].flat()) for await (const { text } of parquetTexts(path, column)) yield { [name]: text }
  }
  return { ...stream(examples, { shuffleBuffer }), checksum: checksumFiles([paths].flat()) }
}

/** Reads the footer, which describes the file. */
async function readMetadata(path: string, file: AsyncBuffer): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file)
  } catch (cause) {
    throw toError(`${path}: the footer before offset ${file.byteLength}`, path, cause)
  }
}

function toError(place: string, path: string, cause: unknown): OnnxIreError {
  if (codeOf(cause)) return readError('data file', path, cause)
  const reason = messageOf(cause)
  return new OnnxIreError(
    'invalid-data',
    `${place} cannot be read: ${reason}; the file is damaged, truncated or not a parquet file`,
    { cause },
  )
}
