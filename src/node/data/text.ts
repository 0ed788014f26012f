import { type Stream, stream } from '../../data/stream.js'
import { OnnxIreError } from '../../util/errors.js'
import { bytesOf } from './bytes.js'
import { linesOf } from './lines.js'

/**
 * A whole UTF-8 file as one text, without a byte order mark; decompressed if gzip made it.
 * @throws 'io', or 'invalid-data' when it is not UTF-8
 */
export async function readText(path: string): Promise<string> {
  const blocks: Uint8Array[] = []
  for await (const block of bytesOf(path)) blocks.push(block)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(blocks))
  } catch (cause) {
    throw new OnnxIreError('invalid-data', `${path}: the file is not UTF-8; convert it`, { cause })
  }
}

/**
 * The lines of a UTF-8 file, empty ones too, without their ends.
 * @throws 'io', or 'invalid-data' naming file and line where it is not UTF-8
 */
export async function readLines(path: string): Promise<string[]> {
  const lines: string[] = []
  for await (const { text } of linesOf(path)) lines.push(text)
  return lines
}

/**
 * The lines of UTF-8 files, however large, one example each: a string under `text`, for a tokenizer to turn into numbers
 * with `transform`. Empty lines are left out.
 */
export function streamLines(
  paths: string | readonly string[],
  options: { readonly text?: string; readonly shuffleBuffer?: number } = {},
): Stream {
  const { text: name = 'text', shuffleBuffer } = options
  async function* examples() {
    for (const path of [paths].flat())
      for await (const { text } of linesOf(path)) if (text !== '') yield { [name]: text }
  }
  return stream(examples, { shuffleBuffer })
}
