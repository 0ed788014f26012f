import { type FieldKind, type PackedArray, type PackedKind, packedArrays, type ScalarKind } from './fields.js'
import { Reader } from './reader.js'
import { Writer } from './writer.js'

/**
 * How fields stand in messages (https://protobuf.dev/programming-guides/encoding). Typed arrays are views of little-endian
 * bytes: every JavaScript host is little-endian today.
 */
export type { Reader, Writer }

/** 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes */
export type WireType = 0 | 1 | 2 | 5

export const wireTypeOf = (kind: FieldKind): WireType => {
  if (kind === 'int32' || kind === 'int64' || kind === 'uint64') return 0
  if (kind === 'float') return 5
  return kind === 'double' ? 1 : 2
}

/** A reader of bytes[start, end), whose `pos` counts from the start of `bytes`. */
export const readerOf = (bytes: Uint8Array, start = 0, end = bytes.length): Reader => new Reader(bytes, start, end)

/** Reads a length prefix and returns where what it measures ends. */
export function readEnd(reader: Reader): number {
  const length = reader.size()
  const left = reader.len - reader.pos
  if (length > left) throw new RangeError(`it announces ${length} bytes where ${Math.max(left, 0)} are left`)
  return reader.pos + length
}

/** Bytes are a view of the input, not a copy. */
export function readScalar(reader: Reader, kind: ScalarKind): number | bigint | string | Uint8Array {
  switch (kind) {
    case 'int32':
      return reader.int32()
    case 'int64':
      return reader.int64()
    case 'uint64':
      return reader.uint64()
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

/** A varint ends at the byte whose high bit is clear. */
function countVarints(bytes: Uint8Array, start: number, end: number): number {
  let count = 0
  for (let i = start; i < end; i++) if (bytes[i]! < 128) count++
  return count
}

/** Reads a packed run: a view of the input where the elements are stored as they are and aligned, otherwise a new array. */
export function readPacked(reader: Reader, kind: PackedKind): PackedArray {
  const end = readEnd(reader)
  const { buf, pos: start, len } = reader
  if (kind === 'float' || kind === 'double') {
    const width = packedArrays[kind].BYTES_PER_ELEMENT
    if ((end - start) % width !== 0) throw new RangeError(`${end - start} bytes are no whole number of ${kind}s`)
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
      halves[i] = reader.int32()
      halves[i + 1] = reader.high
    }
  }
  if (reader.pos !== end) throw new RangeError('its last number is cut off')
  reader.len = len
  return values
}

export const writer = (): Writer => new Writer()

export const writeTag = (writer: Writer, number: number, wireType: WireType): Writer =>
  writer.uint32(((number << 3) | wireType) >>> 0)

/** Writes a scalar that is not measured by a length prefix. */
export function writeScalar(writer: Writer, kind: PackedKind, value: number | bigint): void {
  if (typeof value === 'bigint') {
    writer.int64(value)
  } else if (kind === 'float') {
    writer.float(value)
  } else if (kind === 'double') {
    writer.double(value)
  } else {
    writer.int32(value)
  }
}

/** The content of a packed run: a view of `values` where it can be one. */
export function packedBytes(kind: PackedKind, values: PackedArray | readonly (number | bigint)[]): Uint8Array {
  if (kind === 'float' || kind === 'double') {
    const array = ArrayBuffer.isView(values) ? values : new packedArrays[kind](values as readonly number[])
    return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  }
  const out = writer()
  for (const value of values) writeScalar(out, kind, value)
  return out.written
}

/** One field as it stands in a message: bytes[start, end), of which the value is [body, end) behind tag and length. */
export interface Occurrence {
  readonly number: number
  readonly wireType: number
  readonly start: number
  readonly body: number
  readonly end: number
}

/** The fields of bytes[start, end) in the order they were written. */
export function* occurrences(bytes: Uint8Array, start: number, end: number): Generator<Occurrence> {
  const reader = readerOf(bytes, start, end)
  while (reader.pos < end) {
    const from = reader.pos
    const tag = reader.tag()
    let body = reader.pos
    if ((tag & 7) === 2) {
      const to = readEnd(reader)
      body = reader.pos
      reader.pos = to
    } else {
      reader.skip(tag)
    }
    yield { number: tag >>> 3, wireType: tag & 7, start: from, body, end: reader.pos }
  }
}
