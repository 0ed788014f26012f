import { checkExpansion } from '../../data/formats/gzip.js'
import { describeValue } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { isWebPage, webPage } from '../../util/web-page.js'
import { storageError } from './storage.js'

/**
 * Source of bytes: a URL to fetch (text is resolved relative to the page, in a worker relative to the worker's file), a
 * file that the user picked or dropped, a file of one of the browser's file systems, or the bytes themselves.
 */
export type Source = string | URL | Blob | FileSystemFileHandle | Uint8Array | ArrayBuffer

/** Name of a source in messages, from whose end readers take the format: of an address without its query. */
export function nameOf(source: Source): string {
  if (typeof source === 'string' || source instanceof URL) return String(source).replace(/[?#].*/s, '')
  return (source as Partial<File> | null)?.name || 'the given bytes'
}

/** Address of a file by its path from a base: its name may contain '#', '?', '%' and ':'. */
export const addressAt = (path: string, base: string | URL | undefined): URL =>
  new URL(`./${path.split(/[/\\]/).map(encodeURIComponent).join('/')}`, base)

/** Largest number of bytes of a file that browsers read at once. */
const maxReadBytes = 2 ** 31 - 1

/** Reads all bytes of a source. @throws OnnxIreError `io` with the reason, `invalid-option` for anything else */
export async function readBytes(what: string, source: Source): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source
  if (source instanceof ArrayBuffer) return new Uint8Array(source)
  if (typeof source === 'string' || source instanceof URL) return fetchBytes(what, source)
  if (!(source instanceof Blob || typeof (source as FileSystemFileHandle | null)?.getFile === 'function'))
    throw new OnnxIreError(
      'invalid-option',
      `cannot read the ${what}: the source is ${describeValue(source)}; it must be an address, a File or Blob, a file handle, a Uint8Array or an ArrayBuffer; of a Response, pass await response.blob()`,
    )
  try {
    const file = source instanceof Blob ? source : await source.getFile()
    if (file.size > maxReadBytes)
      throw new OnnxIreError(
        'io',
        `cannot read the ${what} ${nameOf(source)}: it has ${(file.size / 1e9).toFixed(1)} GB, and a browser reads at most 2 GB at once; store the weights of a model in several files of external data`,
      )
    return new Uint8Array(await file.arrayBuffer())
  } catch (cause) {
    if (cause instanceof OnnxIreError) throw cause
    throw storageError(`read the ${what}`, nameOf(source), cause)
  }
}

/** The address that is fetched, as far as it can be resolved: in a worker it depends on where the worker's file is. */
function wholeAddress(address: string | URL): string {
  try {
    return new URL(address, globalThis.location?.href).href
  } catch {
    return String(address)
  }
}

async function fetchBytes(what: string, address: string | URL): Promise<Uint8Array> {
  const fail = (why: string, cause?: unknown) =>
    new OnnxIreError('io', `cannot fetch the ${what} ${wholeAddress(address)}: ${why}`, { cause })
  try {
    const response = await fetch(address)
    if (!response.ok) throw fail(`the server responded ${response.status} ${response.statusText}`.trimEnd())
    return new Uint8Array(await response.arrayBuffer())
  } catch (cause) {
    if (cause instanceof OnnxIreError) throw cause
    throw fail(
      `${(cause as Error).message}; the server may be unreachable, or may not allow pages of other origins to read it (CORS)`,
      cause,
    )
  }
}

/**
 * Reads a data file and decompresses it if its content is gzip, regardless of its name. @throws OnnxIreError `io`,
 * `invalid-data`, also for a web page, with which many servers respond for a file that they do not have
 */
export async function readData(source: Source): Promise<Uint8Array> {
  const bytes = await readBytes('data file', source)
  if (isWebPage(bytes))
    throw new OnnxIreError('invalid-data', `cannot read the data file ${nameOf(source)}: ${webPage}`)
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  // The promise of a body rejects with an error of its own, not with that of the stream.
  let refusal: unknown
  try {
    const plain = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('gzip'))
    let length = 0
    const check = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(block, controller) {
        length += block.length
        try {
          checkExpansion(nameOf(source), bytes.length, length)
        } catch (error) {
          refusal = error
          throw error
        }
        controller.enqueue(block)
      },
    })
    return new Uint8Array(await new Response(plain.pipeThrough(check)).arrayBuffer())
  } catch (cause) {
    if (refusal !== undefined) throw refusal
    throw new OnnxIreError(
      'invalid-data',
      `cannot read the data file ${nameOf(source)}: its gzip data are damaged or truncated; download it again`,
      { cause },
    )
  }
}

/** Calls `read` and adds the name of the source to its errors. */
export function withSourceName<T>(source: Source, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `${nameOf(source)}: ${cause.message}`, { cause })
  }
}
