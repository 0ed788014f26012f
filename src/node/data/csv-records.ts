import { pipeline, Readable } from 'node:stream'
import { CsvError, type Options, parse } from 'csv-parse'
import { type CsvComplaint, csvFault, csvSettings, LineCount } from '../../data/csv-fault.js'
import { OnnxIreError } from '../../util/errors.js'
import { bytesOf } from './bytes.js'

/**
 * The records of a CSV file (RFC 4180: quotes, line ends within them; LF or CRLF; a byte order mark), empty lines left out,
 * the header being the first. All have as many fields.
 * @throws 'io', or 'invalid-data' naming file and line
 */
export async function* recordsOf(path: string, delimiter: string): AsyncGenerator<string[], void, undefined> {
  yield* parsed<string[]>(path, delimiter, {})
}

/** The line on which record `number` (from 0, header included) ends: read again, since to note it for each takes as long as reading. */
export async function lineOf(path: string, delimiter: string, number: number): Promise<number> {
  let at = 0
  for await (const { info } of parsed<{ readonly info: { readonly bytes: number } }>(path, delimiter, { info: true }))
    if (at++ === number) return lineAt(path, info.bytes - 1)
  return lineAt(path, Number.POSITIVE_INFINITY)
}

async function lineAt(path: string, offset: number): Promise<number> {
  const lines = new LineCount(offset)
  for await (const block of bytesOf(path)) if (!lines.take(block)) break
  return lines.line
}

async function* parsed<R>(path: string, delimiter: string, options: Options): AsyncGenerator<R, void, undefined> {
  const parser = parse({ ...csvSettings, delimiter, ...options })
  try {
    yield* pipeline(Readable.from(bytesOf(path)), parser, () => {})
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    const { offset, reason } = csvFault(cause as CsvComplaint)
    throw new OnnxIreError('invalid-data', `${path}:${await lineAt(path, offset)}: ${reason}`, { cause })
  }
}
