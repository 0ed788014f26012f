/** A range of bytes. `end` is the first byte after it. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** The file of a model, whose bytes are decoded. */
export interface ModelFile {
  /** The bytes of the file; those that were not read are zero. */
  readonly bytes: Uint8Array
  /** Finds the folder of the file as long as the path leads to it, as `ExternalData` does. */
  readonly external: { folderOf?(location: string): string | undefined }
  /** The file's name in that folder. */
  readonly location: string
  readonly unread?: Unread | undefined
}

/** The parts of a model's file that are read when they are used: the raw data of large tensors. */
interface Unread {
  /** In the order of the file. */
  readonly ranges: readonly ByteRange[]
  /** Reads bytes of the file. Throws `io` if it was changed. */
  read(start: number, length: number): Uint8Array
}

/** Files by the buffer of their bytes. */
const modelFiles = new WeakMap<ArrayBufferLike, ModelFile>()

/** Records that bytes are those of a file, before they are decoded. */
export const registerModelFile = (file: ModelFile): unknown => modelFiles.set(file.bytes.buffer, file)

/** The file that a view of its bytes belongs to. */
export const modelFileOf = ({ buffer }: Uint8Array): ModelFile | undefined => modelFiles.get(buffer)

/** Number of bytes from which on a tensor stays in its file: mapping a file costs more than a small copy. */
export const minFileBytes = 2 ** 16

/** Bytes that `FileBytes` reads at once. */
const blockBytes = 2 ** 22

/** Raw data of a tensor that are in the file of its model. */
export class FileBytes {
  readonly file: ModelFile
  readonly start: number
  readonly length: number
  readonly #unread: Unread

  constructor(file: ModelFile, unread: Unread, { start, end }: ByteRange) {
    this.file = file
    this.#unread = unread
    this.start = start
    this.length = end - start
  }

  read(at = 0, length = this.length): Uint8Array {
    return this.#unread.read(this.start + at, length)
  }

  *blocks(): Generator<Uint8Array> {
    for (let at = 0; at < this.length; at += blockBytes) yield this.read(at, Math.min(blockBytes, this.length - at))
  }
}

/** Splits bytes of a model into those in memory and those in its file. */
export function partsOf(bytes: Uint8Array): readonly (Uint8Array | FileBytes)[] {
  if (bytes.length < minFileBytes) return [bytes]
  const file = modelFileOf(bytes)
  if (!file?.unread) return [bytes]
  const parts: (Uint8Array | FileBytes)[] = []
  const offset = bytes.byteOffset - file.bytes.byteOffset
  let at = 0
  const { ranges } = file.unread
  for (let i = firstFrom(ranges, offset); i < ranges.length; i++) {
    const range = ranges[i]!
    if (range.end > offset + bytes.length) break
    parts.push(bytes.subarray(at, range.start - offset), new FileBytes(file, file.unread, range))
    at = range.end - offset
  }
  return [...parts, bytes.subarray(at)]
}

/** Index of the first range that does not start before a position. */
function firstFrom(ranges: readonly ByteRange[], position: number): number {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranges[middle]!.start < position) low = middle + 1
    else high = middle
  }
  return low
}

/** Raw data in files, by the message of the tensor. */
const inFiles = new WeakMap<object, FileBytes>()

/** The raw data of a tensor, if they are in the file of its model. Its field `rawData` reads all of them. */
export const fileBytesOf = (message: object): FileBytes | undefined => inFiles.get(message)

/** Sets the field `rawData` of a message that is not frozen yet to bytes that are read when the field is used. */
export function setFileBytes(message: object, bytes: FileBytes): void {
  Object.defineProperty(message, 'rawData', { get: () => bytes.read(), enumerable: true, configurable: true })
  inFiles.set(message, bytes)
}

/** Replaces the raw data of a decoded message, which is not frozen yet, by those in the file, if they were not read. */
export function deferRawData(message: { readonly rawData?: Uint8Array }): void {
  const { rawData } = message
  if (!rawData || rawData.length < minFileBytes) return
  const [first] = partsOf(rawData).filter((part) => part instanceof FileBytes)
  if (first?.length === rawData.length) setFileBytes(message, first)
}
