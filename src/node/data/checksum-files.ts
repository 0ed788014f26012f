import { stat } from 'node:fs/promises'
import type { DataChecksum } from '../../data/dataset.js'
import { checksum } from '../../util/checksum.js'
import { openRegularFile } from '../files/files.js'

/** Number and size of the blocks of a large file that its checksum covers: 1 MiB in all. */
const [blockCount, blockBytes] = [256, 4096]

/** Creates the checksum of data that are read from files: their sizes, and evenly spread blocks of their contents. */
export const checksumFiles =
  (paths: readonly string[]): DataChecksum =>
  async () => {
    const sums: string[] = []
    for (const path of paths) sums.push(await checksumFile(path))
    return checksum(sums)
  }

async function checksumFile(path: string): Promise<string> {
  const file = await openRegularFile('data file', path)
  try {
    const { size } = await file.stat()
    const blocks = Math.min(blockCount, Math.ceil(size / blockBytes))
    const parts: Uint8Array[] = []
    for (let i = 0; i < blocks; i++) {
      // The first block is at the start, the last one at the end.
      const at = blocks === 1 ? 0 : Math.round((i * Math.max(0, size - blockBytes)) / (blocks - 1))
      const { buffer, bytesRead } = await file.read(new Uint8Array(blockBytes), 0, blockBytes, at)
      parts.push(buffer.subarray(0, bytesRead))
    }
    return checksum([`${size}`, ...parts])
  } finally {
    await file.close()
  }
}

/** Size of a file; -1 if it does not exist, which is an error when it is read. */
export const sizeOfFile = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => -1,
  )
