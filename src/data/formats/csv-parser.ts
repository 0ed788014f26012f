import { getOwn } from '../../util/record.js'

/** Error of csv-parse for an invalid record. */
export interface CsvParseError {
  readonly code: string
  readonly message: string
  /** Offset of the start of the invalid field, or of the end of a record of the wrong length. */
  readonly bytes?: number
  readonly record?: readonly string[]
}

/** Options of csv-parse on all platforms. A record of more than 16 MiB is most likely caused by an unclosed quote. */
export const csvParserOptions = { bom: true, skip_empty_lines: true, max_record_size: 2 ** 24 } as const

const reasons: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quote is not closed',
  CSV_MAX_RECORD_SIZE: 'a record has more than 16 MiB; most likely a quote is not closed',
  CSV_INVALID_CLOSING_QUOTE: 'text follows a closing quote; quotes inside a quoted field must be doubled',
  INVALID_OPENING_QUOTE:
    'a quote is in the middle of a field; check the delimiter, and quote fields with quotes, which are then doubled',
}

/** Explains an error of csv-parse: its offset in the file, and its reason in words. */
export function explainCsvError({ code, message, bytes = 0, record = [] }: CsvParseError): {
  offset: number
  reason: string
} {
  if (code === 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH')
    return {
      offset: bytes - 1,
      reason: `the record has ${record.length} fields, but the first one has another number; check the delimiter, and quote fields that contain it`,
    }
  return { offset: bytes, reason: getOwn(reasons, code) ?? message }
}

/**
 * Counter of the lines before an offset, fed block by block. csv-parse's own count treats CRLF in quotes as two lines.
 */
export class LineCounter {
  line = 1
  #left: number
  #after = 0

  constructor(offset: number) {
    this.#left = offset
  }

  /** Counts the lines of the next block; returns whether the offset is in a later block. */
  advance(block: Uint8Array): boolean {
    for (const byte of block.subarray(0, Math.min(this.#left, block.length))) {
      if (byte === 10 || this.#after === 13) this.line++
      this.#after = byte
    }
    this.#left -= block.length
    return this.#left > 0
  }
}
