import { crc32, formatCrc32 } from '../util/checksum.js'
import { messageOf, OnnxIreError } from '../util/errors.js'
import { getOwn, isObject } from '../util/record.js'
import { decodeUtf8 } from '../util/utf8.js'
import { type DType, dtypes } from './dtype.js'
import { sizeOf, type Tensor, type Tensors, toRawBytes } from './tensor.js'

/** Element types by safetensors name. 4-bit integers and strings have no name. */
const names: Readonly<Record<string, DType>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  U8: 'uint8',
  BOOL: 'bool',
}

/** The content of a safetensors file: named tensors and texts. */
interface SafetensorsFile {
  readonly tensors: Tensors
  readonly metadata: Readonly<Record<string, string>>
}

/** First characters of every header that this module writes. The checksum follows: eight hexadecimal digits. */
const opening = '{"__metadata__":{"crc32":"'
const checksumAt = 8 + opening.length
const noChecksum = '00000000'

/** The longest header that readers of the format accept. */
const maxHeaderBytes = 100_000_000

/**
 * Encodes a safetensors file (https://huggingface.co/docs/safetensors) as chunks: the header, then the elements of each
 * tensor. Elements are not copied: do not change them before the chunks are written. The widest element types come
 * first and the length of the header is a multiple of 8 bytes, so that all elements are aligned.
 *
 * The metadata entry `crc32` is the CRC-32 of the whole file with zeros in place of its eight digits.
 * @throws OnnxIreError `invalid-data` for a tensor of 4-bit integers or strings, and for reserved names
 */
export function encodeSafetensorsChunks({ tensors, metadata }: SafetensorsFile): Uint8Array[] {
  if (Object.hasOwn(tensors, '__metadata__') || Object.hasOwn(metadata, 'crc32'))
    throw new OnnxIreError('invalid-data', "safetensors: tensor '__metadata__' and metadata 'crc32' are reserved names")
  const named = Object.entries(tensors).sort(([, a], [, b]) => dtypes[b.dtype].bits - dtypes[a.dtype].bits)
  const header: [string, string][] = [['__metadata__', toJson([['crc32', quote(noChecksum)], ...texts(metadata)])]]
  const chunks: Uint8Array[] = []
  let offset = 0
  for (const [name, tensor] of named) {
    const { dtype, bytes } = encodeTensor(name, tensor)
    const end = offset + bytes.length
    header.push([name, JSON.stringify({ dtype, shape: tensor.dims, data_offsets: [offset, end] })])
    chunks.push(bytes)
    offset = end
  }
  const first = encodeHeader(toJson(header))
  const checksum = computeChecksum([first, ...chunks])
  for (let i = 0; i < checksum.length; i++) first[checksumAt + i] = checksum.charCodeAt(i)
  return [first, ...chunks]
}

/** Encodes a safetensors file as one array. See `encodeSafetensorsChunks`. */
export function encodeSafetensors(container: SafetensorsFile): Uint8Array {
  const chunks = encodeSafetensorsChunks(container)
  const file = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const chunk of chunks) {
    file.set(chunk, offset)
    offset += chunk.length
  }
  return file
}

/**
 * Decodes a safetensors file. Tensors are views of `bytes` if they are aligned there, and copies otherwise.
 * @param options `checksum: false` accepts files without a checksum, from other programs
 * @throws OnnxIreError `damaged` for a file that is incomplete, changed or not a safetensors file
 */
export function decodeSafetensors(bytes: Uint8Array, options: { readonly checksum?: boolean } = {}): SafetensorsFile {
  const { header, start, text } = readHeader(bytes)
  const { __metadata__: metadata = {}, ...specs } = header
  const spans = Object.entries(specs).map(([name, spec]) => readSpan(name, spec))
  const end = start + spans.reduce((last, span) => Math.max(last, span.end), 0)
  if (bytes.length !== end) {
    const what = bytes.length < end ? 'it is cut short' : 'something was added'
    throw damaged(`it has ${bytes.length} bytes, but its header describes ${end}: ${what}`)
  }
  if (text.startsWith(opening)) checkChecksum(bytes)
  else if (options.checksum ?? true) throw damaged('its header does not begin with a checksum')
  checkCover(spans)
  if (!isObject(metadata) || !Object.values(metadata).every((value) => typeof value === 'string'))
    throw damaged('the metadata in its header are not strings')
  const data = bytes.subarray(start)
  const { crc32: _, ...rest } = metadata as Record<string, string>
  return { metadata: rest, tensors: Object.fromEntries(spans.map((span) => [span.name, decodeTensor(span, data)])) }
}

function encodeTensor(name: string, tensor: Tensor): { dtype: string; bytes: Uint8Array } {
  const dtype = Object.keys(names).find((key) => getOwn(names, key) === tensor.dtype)
  const what = `safetensors: tensor '${name}' is ${tensor.dtype} [${tensor.dims.join(', ')}]`
  if (!dtype) throw new OnnxIreError('invalid-data', `${what}, an element type that the format does not support`)
  const bytes = toRawBytes(tensor)
  if (bytes.length * 8 !== sizeOf(tensor.dims) * dtypes[tensor.dtype].bits)
    throw new OnnxIreError('invalid-data', `${what} but has ${tensor.data.length} elements`)
  return { dtype, bytes }
}

/** Joins entries whose values are JSON to a JSON object in ASCII. An object would move a key like '12' to the front. */
const toJson = (entries: readonly (readonly [string, string])[]): string =>
  `{${entries.map(([key, value]) => `${quote(key)}:${value}`).join(',')}}`

const quote = (text: string): string =>
  JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

const texts = (metadata: Readonly<Record<string, string>>) =>
  Object.entries(metadata).map(([key, value]) => [key, quote(value)] as const)

/** Encodes a header: its length as 64 bits, then the text, padded with spaces. */
function encodeHeader(text: string): Uint8Array {
  const bytes = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true)
  for (let i = 0; i < text.length; i++) bytes[8 + i] = text.charCodeAt(i)
  return bytes
}

function readHeader(bytes: Uint8Array): { header: Readonly<Record<string, unknown>>; start: number; text: string } {
  if (bytes.length < 8) throw damaged(`it has ${bytes.length} bytes, less than the 8 bytes of the header length`)
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  if (length > bytes.length - 8)
    throw damaged(
      `its header should have ${length} bytes, but ${bytes.length - 8} follow: it is cut short or not a safetensors file`,
    )
  if (length > maxHeaderBytes) throw damaged(`its header has ${length} bytes; the format allows ${maxHeaderBytes}`)
  const start = 8 + Number(length)
  const text = decodeUtf8(bytes.subarray(8, start))
  try {
    const header: unknown = JSON.parse(text)
    if (isObject(header)) return { header, start, text }
  } catch (cause) {
    throw damaged(`its header is not JSON (${messageOf(cause)})`)
  }
  throw damaged('its header is not a JSON object')
}

interface Span {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly number[]
  /** First byte, and byte after the last one, in the data section. */
  readonly begin: number
  readonly end: number
}

function readSpan(name: string, spec: unknown): Span {
  const { dtype: code, shape, data_offsets: offsets } = isObject(spec) ? spec : {}
  const dtype = typeof code === 'string' && Object.hasOwn(names, code) ? getOwn(names, code) : undefined
  if (!dtype) throw damaged(`tensor '${name}' has the unknown type ${JSON.stringify(code)}`)
  if (!isSizes(shape) || !isSizes(offsets))
    throw damaged(`the shape or the offsets of tensor '${name}' are not arrays of sizes`)
  const [begin = 0, end = -1] = offsets
  if (end - begin !== (sizeOf(shape) * dtypes[dtype].bits) / 8)
    throw damaged(`tensor '${name}', ${dtype} [${shape.join(', ')}], does not fill bytes ${begin} to ${end}`)
  return { name, dtype, dims: shape, begin, end }
}

/** Throws `damaged` unless every byte of the data section belongs to exactly one tensor. */
function checkCover(spans: readonly Span[]): void {
  let covered = 0
  for (const { name, begin, end } of spans.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered)
      throw damaged(`tensor '${name}' starts at byte ${begin}, but the previous one ends at ${covered}`)
    covered = end
  }
}

function decodeTensor({ dtype, dims, begin, end }: Span, data: Uint8Array): Tensor {
  const { array: Elements, bits } = dtypes[dtype]
  const bytes = data.subarray(begin, end)
  const { buffer, byteOffset } = bytes.byteOffset % (bits / 8) === 0 ? bytes : new Uint8Array(bytes)
  return { dtype, dims, data: new Elements!(buffer, byteOffset, (end - begin) / (bits / 8)) }
}

/** Computes the checksum of a file in chunks, with zeros in place of the checksum. */
const computeChecksum = (chunks: readonly Uint8Array[]): string =>
  formatCrc32(chunks.reduce((crc, chunk) => crc32(chunk, crc), 0))

function checkChecksum(bytes: Uint8Array): void {
  const after = checksumAt + noChecksum.length
  const zeros = Uint8Array.from(noChecksum, (digit) => digit.charCodeAt(0))
  const found = computeChecksum([bytes.subarray(0, checksumAt), zeros, bytes.subarray(after)])
  const expected = decodeUtf8(bytes.subarray(checksumAt, after))
  if (found !== expected) throw damaged(`its checksum is ${found} instead of ${expected}`)
}

const isSizes = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)

const damaged = (what: string) =>
  new OnnxIreError('damaged', `the safetensors file is damaged: ${what}; use another copy`)
