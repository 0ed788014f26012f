import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { type FileHandle, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { maxModelBytes } from '../../onnx/model.js'
import { type ByteRange, type ModelFile, minFileBytes } from '../../onnx/proto/model-file.js'
import { readOccurrences } from '../../onnx/proto/wire.js'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, openRegularFile, readError } from './files.js'

/** The bytes of a model's file, and those that remain in it. */
type ModelBytes = Pick<ModelFile, 'bytes' | 'unread'>

/**
 * Reads the file of a model. The raw data of large initializers remain in the file, which stays open until the result is
 * garbage: training copies the weights, and the model would be in memory twice. On Windows an open file cannot be
 * replaced, so everything is read.
 */
export async function readModelBytes(path: string): Promise<ModelBytes> {
  const file = await openRegularFile('model', path).catch(async (error: OnnxIreError) => {
    if (codeOf(error.cause) !== 'EISDIR') throw error
    const models = await listModels(path)
    const advice = models.length > 0 ? `; name a file in it: ${models.join(', ')}` : ', which holds no .onnx file'
    throw readError('model', path, error.cause, { EISDIR: `it is a folder${advice}` })
  })
  try {
    const { size } = await file.stat()
    if (size > maxModelBytes) {
      throw new OnnxIreError(
        'invalid-model',
        `${path} has ${size} bytes: an ONNX model file has at most 2 GiB; move tensors to external data`,
      )
    }
    const isLarge = size >= minFileBytes && process.platform !== 'win32'
    // `readFile` starts at the beginning, because `readPartly` reads at given positions.
    return (isLarge && (await readPartly(path, file))) || { bytes: await file.readFile() }
  } catch (cause) {
    throw cause instanceof OnnxIreError ? cause : readError('model', path, cause)
  } finally {
    await file.close()
  }
}

/** Paths of the models in a folder, and in the folders in it where transformers.js has them. */
async function listModels(path: string): Promise<string[]> {
  const places = ['', 'onnx', 'model/onnx'].map(async (place) => {
    const names = await readdir(join(path, place)).catch((): string[] => [])
    return names.filter((name) => name.endsWith('.onnx')).map((name) => join(path, place, name))
  })
  return (await Promise.all(places)).flat()
}

/** Reads all but large initializers; null if the file is damaged or unusual. */
async function readPartly(path: string, file: FileHandle): Promise<ModelBytes | null> {
  const found = await file.stat()
  const reader = new Reader(file, new Uint8Array(found.size))
  const ranges = await findLargeInitializers(reader)
  if (!ranges) return null
  await reader.readTo(found.size)
  const { bytes } = reader
  if (ranges.length === 0) return { bytes }
  const source = new OpenFile(path)
  return source.isSame(found) ? { bytes, unread: { ranges, read: source.read.bind(source) } } : null
}

/** Reads a file in order, except ranges that are skipped, to their positions in an array of its length. */
class Reader {
  readonly bytes: Uint8Array
  readonly #file: FileHandle
  #position = 0

  constructor(file: FileHandle, bytes: Uint8Array) {
    this.#file = file
    this.bytes = bytes
  }

  /** Reads up to a position, and some bytes more. */
  async readTo(end: number): Promise<void> {
    const { bytes } = this
    while (this.#position < Math.min(end, bytes.length)) {
      const wanted = Math.min(bytes.length - this.#position, Math.max(end - this.#position, 2 ** 12), 2 ** 30)
      const { bytesRead } = await this.#file.read(bytes, this.#position, wanted, this.#position)
      if (bytesRead === 0) throw new Error('it became shorter while it was read')
      this.#position += bytesRead
    }
  }

  skipTo(end: number): void {
    this.#position = Math.max(this.#position, end)
  }
}

/** Fields on the way from a model to the raw data of its initializers: graph, initializer, raw_data. */
const fields = [7, 5, 9]
/** More bytes than the header of a field has. */
const headerBytes = 32

/** Finds the raw data of large initializers, and skips them; null in a file that is damaged or unusual. */
async function findLargeInitializers(reader: Reader): Promise<readonly ByteRange[] | null> {
  const found: ByteRange[] = []
  let graphs = 0
  const search = async (start: number, end: number, depth: number): Promise<void> => {
    await reader.readTo(start + headerBytes)
    for (const { number, wireType, body, end: bodyEnd } of readOccurrences(reader.bytes, start, end)) {
      if (wireType === 3) throw new RangeError('a group, whose end is not known before it is read')
      if (wireType === 2 && number === fields[depth]) {
        // Graphs in several parts are merged.
        if (depth === 0 && ++graphs > 1) throw new RangeError('a second graph')
        if (depth < 2) await search(body, bodyEnd, depth + 1)
        else if (bodyEnd - body >= minFileBytes) {
          found.push({ start: body, end: bodyEnd })
          reader.skipTo(bodyEnd)
        }
      }
      await reader.readTo(bodyEnd + headerBytes)
    }
  }
  try {
    await search(0, reader.bytes.length, 0)
    return found
  } catch {
    return null
  }
}

/** Closes files that are no longer read. */
const unused = new FinalizationRegistry<number>((file) => closeSync(file))

/** A file that stays open. A file that is replaced remains readable, one that is changed does not. */
class OpenFile {
  readonly #path: string
  readonly #file: number
  readonly #first: Stats

  constructor(path: string) {
    this.#path = path
    this.#file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    unused.register(this, this.#file)
    this.#first = fstatSync(this.#file)
  }

  isSame({ dev, ino, size, mtimeMs }: Stats): boolean {
    const first = this.#first
    return first.dev === dev && first.ino === ino && first.size === size && first.mtimeMs === mtimeMs
  }

  read(start: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; ) {
      const count = readSync(this.#file, bytes, at, Math.min(length - at, 2 ** 30), start + at)
      if (count === 0) break
      at += count
    }
    if (!this.isSame(fstatSync(this.#file)))
      throw new OnnxIreError(
        'io',
        `${this.#path} was changed after the model was read, and its large tensors are read when they are needed; read the model again`,
      )
    return bytes
  }
}
