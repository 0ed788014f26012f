import { OnnxIreError } from '../../util/errors.js'
import { bytesOf } from './bytes.js'

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
export async function* linesOf(path: string): AsyncGenerator<Line, void, undefined> {
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
  for await (const block of bytesOf(path)) {
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
