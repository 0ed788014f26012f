import { pipeline, Readable } from 'node:stream'
import { CsvError, type Options, parse } from 'csv-parse'
import { OnnxIreError } from '../../errors.js'
import { bytesOf } from './bytes.js'

/** What a record may grow to before an open quote is the likely cause. */
const maxRecord = 2 ** 24

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

/** The line of a byte. The parser's own count takes CRLF within quotes for two lines. */
async function lineAt(path: string, offset: number): Promise<number> {
  let [line, left, after] = [1, offset, 0]
  for await (const block of bytesOf(path)) {
    for (const byte of block.subarray(0, Math.min(left, block.length))) {
      if (byte === 10 || after === 13) line++
      after = byte
    }
    left -= block.length
    if (left <= 0) break
  }
  return line
}

async function* parsed<R>(path: string, delimiter: string, options: Options): AsyncGenerator<R, void, undefined> {
  const parser = parse({ bom: true, delimiter, skip_empty_lines: true, max_record_size: maxRecord, ...options })
  try {
    yield* pipeline(Readable.from(bytesOf(path)), parser, () => {})
  } catch (cause) {
    throw cause instanceof CsvError ? await refused(path, cause) : cause
  }
}

const reasons: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quote is opened and never closed',
  CSV_MAX_RECORD_SIZE: 'a record has more than 16 MiB: a quote is likely opened and never closed',
  CSV_INVALID_CLOSING_QUOTE: 'text follows a closing quote; quotes within quotes are doubled',
  INVALID_OPENING_QUOTE:
    'a quote stands in the middle of a field; fields with quotes are quoted, and quotes in them doubled',
}

/** `bytes` is where the field in question begins, or where a whole record of the wrong length ended. */
async function refused(path: string, cause: CsvError): Promise<OnnxIreError> {
  const { code, bytes = 0, record = [] } = cause as CsvError & { readonly bytes?: number; readonly record?: string[] }
  const uneven = code === 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH'
  const reason = uneven
    ? `the record has ${record.length} fields, the first one another number: is the delimiter right, and are fields that hold it quoted?`
    : (reasons[code] ?? cause.message)
  return new OnnxIreError('invalid-data', `${path}:${await lineAt(path, uneven ? bytes - 1 : bytes)}: ${reason}`, {
    cause,
  })
}
