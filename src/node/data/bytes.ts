import { open } from 'node:fs/promises'
import { pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, readError } from '../files.js'

/** Whether bytes begin as gzip makes them. */
export const isGzip = ([first, second]: Uint8Array): boolean => first === 0x1f && second === 0x8b

export const damagedGzipError = (path: string, cause: unknown): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `cannot read the data file ${path}: its gzip data are damaged or cut short (${cause instanceof Error ? cause.message : String(cause)}); fetch it again`,
    { cause },
  )

/**
 * The bytes of a file in pieces, decompressed if gzip made them, whatever its name. The file is closed when the loop ends or
 * is left.
 * @throws 'io' when it cannot be read, 'invalid-data' when its gzip data are damaged
 */
export async function* iterateBytes(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* await opened(path)
  } catch (cause) {
    throw codeOf(cause)?.startsWith('Z_') ? damagedGzipError(path, cause) : readError('data file', path, cause)
  }
}

async function opened(path: string): Promise<Readable> {
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
