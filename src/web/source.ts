import { OnnxIreError } from '../util/errors.js'
import { storageError } from './storage.js'

/**
 * Where bytes come from: an address to fetch (text is taken relative to the page), a file that was picked or dropped, one
 * of the browser's file systems, or the bytes.
 */
export type Source = string | URL | Blob | FileSystemFileHandle | Uint8Array

/** What a source is called in messages. */
export function nameOf(source: Source): string {
  if (typeof source === 'string') return source
  if (source instanceof URL) return source.href
  return 'name' in source && source.name ? String(source.name) : 'the bytes given'
}

/** @throws 'io' saying what stands in the way */
export async function bytesOf(what: string, source: Source): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source
  if (typeof source === 'string' || source instanceof URL) return fetched(what, source)
  try {
    const file = source instanceof Blob ? source : await source.getFile()
    return new Uint8Array(await file.arrayBuffer())
  } catch (cause) {
    throw storageError(`read the ${what}`, nameOf(source), cause)
  }
}

async function fetched(what: string, address: string | URL): Promise<Uint8Array> {
  const refuse = (why: string, cause?: unknown) =>
    new OnnxIreError('io', `cannot fetch the ${what} ${address}: ${why}`, { cause })
  try {
    const response = await fetch(address)
    if (!response.ok) throw refuse(`the server answers ${response.status} ${response.statusText}`.trimEnd())
    return new Uint8Array(await response.arrayBuffer())
  } catch (cause) {
    if (cause instanceof OnnxIreError) throw cause
    throw refuse(
      `${(cause as Error).message}; the server may be out of reach, or not allow pages of other origins to read it (CORS)`,
      cause,
    )
  }
}

/** The bytes of a data file, decompressed if gzip made them, whatever its name. @throws 'io', 'invalid-data' */
export async function dataOf(source: Source): Promise<Uint8Array> {
  const bytes = await bytesOf('data file', source)
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    const plain = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('gzip'))
    return new Uint8Array(await new Response(plain).arrayBuffer())
  } catch (cause) {
    throw new OnnxIreError(
      'invalid-data',
      `cannot read the data file ${nameOf(source)}: its gzip data are damaged or cut short; fetch it again`,
      { cause },
    )
  }
}

/** `read`, what it refuses naming the file. */
export function named<T>(source: Source, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `${nameOf(source)}: ${cause.message}`, { cause })
  }
}
