import { isUtf8 } from 'node:buffer'
import { OnnxIreError } from '../../util/errors.js'
import { iterateBytes } from './bytes.js'

export interface Line {
  /** From 1. */
  readonly number: number
  readonly text: string
}

const newline = 10

/**
 * The lines of a UTF-8 file, without their ends (LF or CRLF) and without a byte order mark.
 * @throws 'io', or 'invalid-data' naming file and line where it is not UTF-8
 */
export async function* iterateLines(path: string): AsyncGenerator<Line, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let number = 0
  const line = (bytes: Uint8Array): Line => {
    number++
    try {
      const text = decoder.decode(bytes)
      const start = number === 1 && text.startsWith('\uFEFF') ? 1 : 0
      return { number, text: text.slice(start, text.endsWith('\r') ? -1 : undefined) }
    } catch (cause) {
      throw new OnnxIreError('invalid-data', `${path}:${number}: the line is not UTF-8; convert the file`, { cause })
    }
  }
  let open: Uint8Array[] = [] // the pieces of a line whose end has not come
  for await (const block of iterateBytes(path)) {
    let from = 0
    for (let end = block.indexOf(newline); end >= 0; end = block.indexOf(newline, from)) {
      const piece = block.subarray(from, end)
      yield line(open.length === 0 ? piece : Buffer.concat([...open, piece]))
      open = []
      from = end + 1
    }
    if (from < block.length) open.push(block.subarray(from))
  }
  if (open.length > 0) yield line(Buffer.concat(open))
}

/**
 * A UTF-8 file, however large, in pieces that end where a line does: each at least `size` bytes long but for the last. Without
 * a byte order mark.
 * @throws 'io', or 'invalid-data' naming file and offset of what is not UTF-8
 */
export async function* iterateTextChunks(path: string, size: number): AsyncGenerator<string, void, undefined> {
  let held: Uint8Array[] = []
  let [length, offset] = [0, 0]
  const piece = () => {
    const bytes = Buffer.concat(held)
    if (!isUtf8(bytes))
      throw new OnnxIreError(
        'invalid-data',
        `${path}: the byte at offset ${offset + firstInvalid(bytes)} is not UTF-8; convert the file`,
      )
    const text = new TextDecoder('utf-8', { ignoreBOM: offset > 0 }).decode(bytes)
    offset += bytes.length
    held = []
    length = 0
    return text
  }
  for await (const block of iterateBytes(path)) {
    let from = 0
    while (length + block.length - from >= size) {
      const end = block.indexOf(newline, from + Math.max(0, size - length - 1))
      if (end < 0) break
      held.push(block.subarray(from, end + 1))
      yield piece()
      from = end + 1
    }
    held.push(block.subarray(from))
    length += block.length - from
  }
  if (length > 0) yield piece()
}

/** Where the first character begins that is not UTF-8. */
function firstInvalid(bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at]!
    const width = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
    if (!isUtf8(bytes.subarray(at, at + width))) return at
    at += width
  }
  return bytes.length
}
