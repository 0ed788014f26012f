import protobuf from 'protobufjs/minimal.js'
import { bytesOf } from '../../util/bytes.js'
import { replaceLoneSurrogates } from '../../util/utf8.js'
import { type FieldKind, type PackedArray, type PackedKind, packedArrays, type ScalarKind } from './fields.js'

/**
 * The protobuf wire format (https://protobuf.dev/programming-guides/encoding) over the Reader and Writer of protobufjs.
 * Its minimal build generates no code at run time, so it runs under a strict content security policy. Packed floats are
 * views of little-endian bytes: every JavaScript host is little-endian today.
 */
export type Reader = protobuf.Reader
export type Writer = protobuf.Writer

/**
 * Wire types: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. Groups (3 and 4) only occur in unknown
 * fields.
 */
type WireType = 0 | 1 | 2 | 5

export const wireTypeOf = (kind: FieldKind): WireType => {
  if (kind === 'int32' || kind === 'int64' || kind === 'uint64') return 0
  if (kind === 'float') return 5
  return kind === 'double' ? 1 : 2
}

/** A reader of bytes[start, end), whose `pos` counts from the start of `bytes`. */
export function createReader(bytes: Uint8Array, start = 0, end = bytes.length): Reader {
  const reader = new protobuf.Reader(bytes)
  reader.pos = start
  reader.len = end
  return reader
}

/** Reads a length prefix and returns the position at which the field ends. */
export function readEnd(reader: Reader): number {
  const length = reader.size()
  const left = reader.len - reader.pos
  if (length > left) throw new RangeError(`the length is ${length} bytes, but only ${Math.max(left, 0)} are left`)
  return reader.pos + length
}

/** A 64-bit integer as protobufjs represents it: two halves of 32 bits. */
interface Halves {
  readonly low: number
  readonly high: number
  readonly unsigned: boolean
}

const toBigint = ({ low, high, unsigned }: Halves): bigint =>
  (BigInt(unsigned ? high >>> 0 : high) << 32n) | BigInt(low >>> 0)

const toHalves = (value: bigint): Halves => ({
  low: Number(BigInt.asIntN(32, value)),
  high: Number(BigInt.asIntN(32, value >> 32n)),
  unsigned: false,
})

/** Reads one value of a field. Bytes are a view of the input, not a copy. */
export function readScalar(reader: Reader, kind: ScalarKind): number | bigint | string | Uint8Array {
  switch (kind) {
    case 'int32':
      return reader.int32()
    case 'int64':
      return toBigint(reader.int64())
    case 'uint64':
      return toBigint(reader.uint64())
    case 'float':
      return reader.float()
    case 'double':
      return reader.double()
    case 'string':
      return reader.string()
    case 'bytes':
      return reader.bytes()
  }
}

/**
 * The number of varints in bytes[start, end): every varint ends with the only one of its bytes whose high bit is
 * clear.
 */
function countVarints(bytes: Uint8Array, start: number, end: number): number {
  let count = 0
  for (let i = start; i < end; i++) if (bytes[i]! < 128) count++
  return count
}

/** Reads a packed field. Aligned floats and doubles are a view of the input, everything else is a new array. */
export function readPacked(reader: Reader, kind: PackedKind): PackedArray {
  const end = readEnd(reader)
  const { buf, pos: start, len } = reader
  if (kind === 'float' || kind === 'double') {
    const width = packedArrays[kind].BYTES_PER_ELEMENT
    if ((end - start) % width !== 0) throw new RangeError(`${end - start} bytes are not a whole number of ${kind}s`)
    reader.pos = end
    const view = buf.subarray(start, end)
    const { buffer, byteOffset, byteLength } = view.byteOffset % width === 0 ? view : new Uint8Array(view)
    const length = byteLength / width
    return kind === 'float'
      ? new Float32Array(buffer, byteOffset, length)
      : new Float64Array(buffer, byteOffset, length)
  }
  const values = new packedArrays[kind](countVarints(buf, start, end))
  reader.len = end
  if (values instanceof Int32Array) {
    for (let i = 0; i < values.length; i++) values[i] = reader.int32()
  } else {
    const halves = new Int32Array(values.buffer)
    for (let i = 0; i < halves.length; i += 2) {
      const { low, high } = reader.int64()
      halves[i] = low
      halves[i + 1] = high
    }
  }
  if (reader.pos !== end) throw new RangeError('the last number is cut off')
  reader.len = len
  return values
}

/** Skips the value that follows `tag`, nested groups included. */
export const skipValue = (reader: Reader, tag: number): void => {
  reader.skipType(tag & 7, 0, tag >>> 3)
}

export const createWriter = (): Writer => new protobuf.Writer()

export const writeTag = (writer: Writer, number: number, wireType: WireType): Writer =>
  writer.uint32(((number << 3) | wireType) >>> 0)

/** Writes a number without its tag. */
export function writeNumber(writer: Writer, kind: PackedKind, value: number | bigint): void {
  if (typeof value === 'bigint') {
    writer.int64(toHalves(value))
  } else if (kind === 'float') {
    writer.float(value)
  } else if (kind === 'double') {
    writer.double(value)
  } else {
    writer.int32(value)
  }
}

/** Writes the length of `text` in UTF-8 and its bytes. */
export const writeText = (writer: Writer, text: string): Writer => writer.string(replaceLoneSurrogates(text))

/** The content of a packed field, without tag and length. Floats in a typed array are a view of it. */
export function toPackedBytes(kind: PackedKind, values: PackedArray | readonly (number | bigint)[]): Uint8Array {
  if (kind === 'float' || kind === 'double') {
    const array = ArrayBuffer.isView(values) ? values : new packedArrays[kind](values as readonly number[])
    return bytesOf(array)
  }
  const out = createWriter()
  for (const value of values) writeNumber(out, kind, value)
  return out.finish(true)
}

/** One field in the bytes of a message: [start, end) with its tag, [body, end) without tag and length prefix. */
export interface Occurrence {
  readonly number: number
  readonly wireType: number
  readonly start: number
  readonly body: number
  readonly end: number
}

/** Yields the fields of bytes[start, end) in the order in which they were written. */
export function* readOccurrences(bytes: Uint8Array, start: number, end: number): Generator<Occurrence> {
  const reader = createReader(bytes, start, end)
  while (reader.pos < end) {
    const from = reader.pos
    const tag = reader.tag()
    let body = reader.pos
    if ((tag & 7) === 2) {
      const to = readEnd(reader)
      body = reader.pos
      reader.pos = to
    } else {
      skipValue(reader, tag)
    }
    yield { number: tag >>> 3, wireType: tag & 7, start: from, body, end: reader.pos }
  }
}
