import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { writeFileAtomic } from '../../node/files.js'

/** What a file held when it was written. */
export interface Written {
  readonly bytes: number
  readonly sha256: string
}

export const sha256 = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex')

/** Writes a file, all of it or nothing, and says what it holds. */
export async function writeSummed(
  path: string,
  blocks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Written> {
  const hash = createHash('sha256')
  let bytes = 0
  async function* summed() {
    for await (const block of blocks) {
      hash.update(block)
      bytes += block.length
      yield block
    }
  }
  await writeFileAtomic(path, summed())
  return { bytes, sha256: hash.digest('hex') }
}

/** Whether a file holds what was written. */
export async function isIntact(path: string, written: Written): Promise<boolean> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const block of createReadStream(path, { highWaterMark: 2 ** 20 })) {
      hash.update(block)
      bytes += block.length
    }
  } catch {
    return false
  }
  return bytes === written.bytes && hash.digest('hex') === written.sha256
}
