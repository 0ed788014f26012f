/** What csv-parse says of a record it refuses. */
export interface CsvParseError {
  readonly code: string
  readonly message: string
  /** Where the field in question begins, or where a whole record of the wrong length ended. */
  readonly bytes?: number
  readonly record?: readonly string[]
}

/** Options that csv-parse is given wherever it runs. An open quote is the likely cause of a record of more than 16 MiB. */
export const csvParserOptions = { bom: true, skip_empty_lines: true, max_record_size: 2 ** 24 } as const

const reasons: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quote is opened and never closed',
  CSV_MAX_RECORD_SIZE: 'a record has more than 16 MiB: a quote is likely opened and never closed',
  CSV_INVALID_CLOSING_QUOTE: 'text follows a closing quote; quotes within quotes are doubled',
  INVALID_OPENING_QUOTE:
    'a quote stands in the middle of a field; fields with quotes are quoted, and quotes in them doubled',
}

/** What is wrong, and at which byte. */
export function explainCsvError({ code, message, bytes = 0, record = [] }: CsvParseError): {
  offset: number
  reason: string
} {
  if (code === 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH')
    return {
      offset: bytes - 1,
      reason: `the record has ${record.length} fields, the first one another number: is the delimiter right, and are fields that hold it quoted?`,
    }
  return { offset: bytes, reason: reasons[code] ?? message }
}

/** Counts the lines before a byte, block by block. csv-parse's own count takes CRLF within quotes for two lines. */
export class LineCounter {
  line = 1
  #left: number
  #after = 0

  constructor(offset: number) {
    this.#left = offset
  }

  /** Whether the byte lies further on. */
  advance(block: Uint8Array): boolean {
    for (const byte of block.subarray(0, Math.min(this.#left, block.length))) {
      if (byte === 10 || this.#after === 13) this.line++
      this.#after = byte
    }
    this.#left -= block.length
    return this.#left > 0
  }
}
