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
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, readError } from '../files.js'

/** A text of a parquet file and the number of its row, from 0. */
export interface ParquetText {
  readonly row: number
  readonly text: string
}

/**
 * The texts of a column of a parquet file, however large: a group of rows is in memory at a time. Rows without a text (null)
 * are left out. Compression may be Snappy, gzip, Zstandard, Brotli or LZ4.
 * @throws 'io', or 'invalid-data' naming the column that is not there or holds no text, and the rows that are damaged
 */
export async function* parquetTexts(path: string, column: string): AsyncGenerator<ParquetText, void, undefined> {
  const file = await asyncBufferFromFile(path).catch((cause) => {
    throw readError('data file', path, cause)
  })
  const metadata = await metadataOf(path, file)
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
      throw damaged(place, path, cause)
    })
    if (rows.length !== end - start)
      throw new OnnxIreError('invalid-data', `${place} gives ${rows.length} rows: the file is damaged`)
    for (const [i, row] of rows.entries()) {
      const text: unknown = row[column]
      if (text === null || text === undefined) continue
      if (typeof text !== 'string')
        throw new OnnxIreError('invalid-data', `${path}: row ${start + i} of column '${column}' is no text`)
      yield { row: start + i, text }
    }
    start = end
  }
}

/** The texts of parquet files, one example each: a string under `text`, as `streamLines` makes them. */
export function streamParquet(
  paths: string | readonly string[],
  options: { readonly column: string; readonly text?: string; readonly shuffleBuffer?: number },
): ExampleStream {
  checkNames('streamParquet', options, ['column', 'text', 'shuffleBuffer'])
  const { column, text: name = 'text', shuffleBuffer } = options
  async function* examples() {
    for (const path of [paths].flat()) for await (const { text } of parquetTexts(path, column)) yield { [name]: text }
  }
  return stream(examples, { shuffleBuffer })
}

/** A parquet file begins and ends with 'PAR1'; before its end stands the length of the footer that describes it. */
async function metadataOf(path: string, file: AsyncBuffer): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file)
  } catch (cause) {
    throw damaged(`${path}: the footer before offset ${file.byteLength}`, path, cause)
  }
}

function damaged(place: string, path: string, cause: unknown): OnnxIreError {
  if (codeOf(cause)) return readError('data file', path, cause)
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new OnnxIreError(
    'invalid-data',
    `${place} cannot be read: ${reason}; the file is damaged, cut short or no parquet file`,
    { cause },
  )
}
