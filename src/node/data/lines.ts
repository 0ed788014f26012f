import { isUtf8 } from 'node:buffer'
import { OnnxIreError } from '../../util/errors.js'
import { iterateBytes } from './bytes.js'

/** A line of a text file. */
export interface Line {
  /** Line number, from 1. */
  readonly number: number
  readonly text: string
}

const newline = 10

/** Number of bytes after which a chunk is cut within a line. */
const cutAfterBytes = 2 ** 20

/** Largest number of bytes of a line. */
const maxLineBytes = 2 ** 26

/**
 * Iterates over the lines of a UTF-8 file, without line ends (LF or CRLF) and without a byte order mark.
 * @param limit largest number of bytes of a line
 * @throws OnnxIreError `io`, or `invalid-data` naming file and line that is not UTF-8 or too long
 */
export async function* iterateLines(path: string, limit = maxLineBytes): AsyncGenerator<Line, void, undefined> {
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
  const checkLength = (bytes: number) => {
    if (bytes > limit)
      throw new OnnxIreError(
        'invalid-data',
        `${path}:${number + 1}: the line is longer than ${limit / 2 ** 20} MiB; check the line ends of the file`,
      )
  }
  let pendingBytes = 0
  let pending: Uint8Array[] = [] // beginning of a line whose end is in a later block
  for await (const block of iterateBytes(path)) {
    let from = 0
    for (let end = block.indexOf(newline); end >= 0; end = block.indexOf(newline, from)) {
      const piece = block.subarray(from, end)
      checkLength(pendingBytes + piece.length)
      yield line(pending.length === 0 ? piece : Buffer.concat([...pending, piece]))
      pending = []
      pendingBytes = 0
      from = end + 1
    }
    if (from < block.length) pending.push(block.subarray(from))
    pendingBytes += block.length - from
    checkLength(pendingBytes)
  }
  if (pending.length > 0) yield line(Buffer.concat(pending))
}

/**
 * Iterates over a UTF-8 file of any size in chunks that end at line ends, or between two characters if a line is longer
 * than 1 MiB. Every chunk except the last has at least `size` bytes. A byte order mark is removed.
 * @throws OnnxIreError `io`, or `invalid-data` naming file and offset of a byte that is not UTF-8
 */
export async function* iterateTextChunks(path: string, size: number): AsyncGenerator<string, void, undefined> {
  let blocks: Uint8Array[] = []
  let [length, offset] = [0, 0]
  const decodeChunk = () => {
    const bytes = Buffer.concat(blocks)
    if (!isUtf8(bytes))
      throw new OnnxIreError(
        'invalid-data',
        `${path}: the byte at offset ${offset + firstInvalid(bytes)} is not UTF-8; convert the file`,
      )
    const text = new TextDecoder('utf-8', { ignoreBOM: offset > 0 }).decode(bytes)
    offset += bytes.length
    blocks = []
    length = 0
    return text
  }
  for await (const block of iterateBytes(path)) {
    let from = 0
    while (length + block.length - from >= size) {
      const end = block.indexOf(newline, from + Math.max(0, size - length - 1))
      if (end < 0) break
      blocks.push(block.subarray(from, end + 1))
      yield decodeChunk()
      from = end + 1
    }
    blocks.push(block.subarray(from))
    length += block.length - from
    if (length < Math.max(size, cutAfterBytes)) continue
    const bytes = Buffer.concat(blocks)
    const end = lastCharacterEnd(bytes)
    blocks = [bytes.subarray(0, end)]
    yield decodeChunk()
    blocks = [bytes.subarray(end)]
    length = bytes.length - end
  }
  if (length > 0) yield decodeChunk()
}

/**
 * Iterates over the bytes of a UTF-8 file in blocks.
 * @param errorAt creates the error for a byte that is not UTF-8, by its offset
 * @throws OnnxIreError `io`, and the error of `errorAt`
 */
export async function* iterateUtf8(
  path: string,
  errorAt: (offset: number) => Promise<OnnxIreError>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let rest: Uint8Array = new Uint8Array() // beginning of a character whose end is in the next block
  let offset = 0
  for await (const block of iterateBytes(path)) {
    const bytes = rest.length === 0 ? block : Buffer.concat([rest, block])
    const end = lastCharacterEnd(bytes)
    if (!isUtf8(bytes.subarray(0, end))) throw await errorAt(offset + firstInvalid(bytes))
    rest = bytes.subarray(end)
    offset += end
    yield block
  }
  if (rest.length > 0) throw await errorAt(offset)
}

/** End of the last whole character: a character has at most 3 bytes after its first one, each 10xxxxxx in binary. */
function lastCharacterEnd(bytes: Uint8Array): number {
  let start = bytes.length - 1
  while (start > bytes.length - 4 && (bytes[start]! & 0xc0) === 0x80) start--
  const first = bytes[start]!
  const width = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  return start + width <= bytes.length ? bytes.length : start
}

/** Offset of the first character that is not UTF-8. */
function firstInvalid(bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at]!
    const width = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
    if (!isUtf8(bytes.subarray(at, at + width))) return at
    at += width
  }
  return bytes.length
}
