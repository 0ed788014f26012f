import { open } from 'node:fs/promises'
import { pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, readError } from '../files/files.js'

/** Whether bytes begin with the magic number of gzip. */
export const isGzip = ([first, second]: Uint8Array): boolean => first === 0x1f && second === 0x8b

/** The error for a gzip file that cannot be decompressed. */
export const damagedGzipError = (path: string, cause: unknown): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `cannot read the data file ${path}: its gzip data are damaged or truncated (${cause instanceof Error ? cause.message : String(cause)}); download it again`,
    { cause },
  )

/**
 * Iterates over the bytes of a file in blocks. Gzip data are decompressed, whatever the name of the file. The file is
 * closed when the iteration ends.
 * @throws 'io' if the file cannot be read, 'invalid-data' if its gzip data are damaged
 */
export async function* iterateBytes(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* await openBytes(path)
  } catch (cause) {
    throw codeOf(cause)?.startsWith('Z_') ? damagedGzipError(path, cause) : readError('data file', path, cause)
  }
}

async function openBytes(path: string): Promise<Readable> {
  const file = await open(path)
  try {
    const start = new Uint8Array(2)
    await file.read(start, 0, 2, 0)
    const plain = file.createReadStream({ start: 0, highWaterMark: 2 ** 18 })
    return isGzip(start) ? pipeline(plain, createGunzip({ chunkSize: 2 ** 18 }), () => {}) : plain
  } catch (cause) {
    await file.close()
    throw cause
  }
}

/** Reads a whole file into memory, decompressed like `iterateBytes`. */
export async function readBytes(path: string): Promise<Uint8Array> {
  const blocks: Uint8Array[] = []
  for await (const block of iterateBytes(path)) blocks.push(block)
  return Buffer.concat(blocks)
}
