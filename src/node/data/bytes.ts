import { pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { checkIndices, type Dataset, deriveChecksum } from '../../data/dataset.js'
import type { DataExample } from '../../data/examples.js'
import { checkExpansion } from '../../data/formats/gzip.js'
import { type ExampleStream, stream } from '../../data/stream.js'
import type { Tensors } from '../../ir/tensor.js'
import { checksum } from '../../util/checksum.js'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import { codeOf, openRegularFile, readError } from '../files/files.js'
import { checksumFiles } from './checksum-files.js'

/** Whether bytes begin with the magic number of gzip. */
const isGzip = ([first, second]: Uint8Array): boolean => first === 0x1f && second === 0x8b

/** The error for a gzip file that cannot be decompressed. */
const damagedGzipError = (path: string, cause: unknown): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `cannot read the data file ${path}: its gzip data are damaged or truncated (${messageOf(cause)}); download it again`,
    { cause },
  )

/**
 * Iterates over the bytes of a file in blocks. Gzip data are decompressed, whatever the name of the file. The file is
 * closed when the iteration ends.
 * @throws OnnxIreError `io` if the file cannot be read, `invalid-data` if its gzip data are damaged
 */
export async function* iterateBytes(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* await openBytes(path)
  } catch (cause) {
    if (cause instanceof OnnxIreError) throw cause
    throw codeOf(cause)?.startsWith('Z_') ? damagedGzipError(path, cause) : readError('data file', path, cause)
  }
}

async function* decompress(path: string, size: number, blocks: Readable): AsyncGenerator<Uint8Array> {
  let length = 0
  for await (const block of blocks) {
    length += block.length
    checkExpansion(path, size, length)
    yield block
  }
}

async function openBytes(path: string): Promise<Readable | AsyncGenerator<Uint8Array>> {
  const file = await openRegularFile('data file', path)
  try {
    const start = new Uint8Array(2)
    await file.read(start, 0, 2, 0)
    const plain = file.createReadStream({ start: 0, highWaterMark: 2 ** 18 })
    if (!isGzip(start)) return plain
    const { size } = await file.stat()
    return decompress(
      path,
      size,
      pipeline(plain, createGunzip({ chunkSize: 2 ** 18 }), () => {}),
    )
  } catch (cause) {
    await file.close()
    throw cause
  }
}

/**
 * Reads a whole file into memory, decompressed like `iterateBytes`.
 * @param limit largest number of bytes, after decompression; Node has the same default for reading a file
 * @throws OnnxIreError like `iterateBytes`, and `invalid-data` for a larger file
 */
export async function readBytes(path: string, limit = 2 ** 31): Promise<Uint8Array> {
  const blocks: Uint8Array[] = []
  let size = 0
  for await (const block of iterateBytes(path)) {
    size += block.length
    if (size > limit)
      throw new OnnxIreError(
        'invalid-data',
        `cannot read the data file ${path}: it is larger than ${limit / 2 ** 20} MiB when decompressed; divide it`,
      )
    blocks.push(block)
  }
  return Buffer.concat(blocks)
}

/** Division of files into byte windows, the examples of a language model. */
interface WindowOptions {
  /** Name of the tokens. */
  readonly input: string
  /** Name of the following tokens; null to leave them out. */
  readonly target: string | null
  /** Tokens per example. */
  readonly context: number
  /** Tokens between the starts of two examples. */
  readonly stride: number
  /** Number added to every byte. */
  readonly offset: number
}

/**
 * Reads files as windows of `context` bytes, `stride` apart: tokens [n, context] and, as labels, the bytes one position
 * later.
 */
export async function readByteWindows(paths: readonly string[], options: WindowOptions): Promise<Dataset> {
  const { input, target, context, stride, offset } = options
  const files = await Promise.all(paths.map((path) => readBytes(path)))
  const starts = files.flatMap((bytes) =>
    Array.from({ length: countWindows(bytes.length, options) }, (_, i) => ({ bytes, at: i * stride })),
  )
  if (starts.length === 0) throw tooShortError(paths, options)
  const rows = (indices: ArrayLike<number>, shift: number): Tensors[string] => {
    const data = new BigInt64Array(indices.length * context)
    for (let i = 0; i < indices.length; i++) {
      const { bytes, at } = starts[indices[i]!]!
      for (let t = 0; t < context; t++) data[i * context + t] = BigInt(bytes[at + shift + t]! + offset)
    }
    return { dtype: 'int64', dims: [indices.length, context], data }
  }
  return {
    length: starts.length,
    batch(indices) {
      checkIndices(indices, starts.length)
      return { [input]: rows(indices, 0), ...(target === null ? {} : { [target]: rows(indices, 1) }) }
    },
    checksum: () => checksum([`${context} ${stride} ${offset}`, ...files]),
  }
}

/** Streams the examples of `readByteWindows`, reading the files during training. */
export function streamByteWindows(
  paths: readonly string[],
  options: WindowOptions,
  shuffleBuffer?: number,
): ExampleStream {
  const { input, target, context, stride, offset } = options
  const length = windowLength(options)
  const tokens = (bytes: Uint8Array) => BigInt64Array.from(bytes, (byte) => BigInt(byte + offset))
  async function* examples(): AsyncGenerator<DataExample> {
    let count = 0
    for (const path of paths)
      for await (const bytes of iterateWindows(path, length, stride)) {
        count++
        const following = target === null ? {} : { [target]: tokens(bytes.subarray(1)) }
        yield { [input]: tokens(bytes.subarray(0, context)), ...following }
      }
    if (count === 0) throw tooShortError(paths, options)
  }
  const data = { ...stream(examples, { shuffleBuffer }), checksum: checksumFiles(paths) }
  return { ...data, checksum: deriveChecksum(data, `${context} ${stride} ${offset}`) }
}

/** Iterates over windows of `length` bytes of a file whose starts are `stride` bytes apart. */
async function* iterateWindows(path: string, length: number, stride: number): AsyncGenerator<Uint8Array> {
  let buffer = Buffer.alloc(0)
  let skip = 0
  for await (const block of iterateBytes(path)) {
    buffer = Buffer.concat([buffer, block])
    const dropped = Math.min(skip, buffer.length)
    let at = dropped
    skip -= dropped
    while (skip === 0 && at + length <= buffer.length) {
      yield buffer.subarray(at, at + length)
      skip = Math.max(0, at + stride - buffer.length)
      at = Math.min(at + stride, buffer.length)
    }
    buffer = buffer.subarray(at)
  }
}

/** Bytes of a window: with labels one more than its context. */
const windowLength = ({ context, target }: WindowOptions): number => (target === null ? context : context + 1)

/** Number of windows in a file. */
const countWindows = (size: number, options: WindowOptions): number =>
  size < windowLength(options) ? 0 : Math.floor((size - windowLength(options)) / options.stride) + 1

const tooShortError = (paths: readonly string[], options: WindowOptions): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `${paths.join(', ')}: no file has ${windowLength(options)} bytes, the size of an example of ${options.context} tokens; lower context`,
  )
