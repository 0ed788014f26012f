import { bytesOf } from '../../util/bytes.js'
import { decodeUtf8, encodeUtf8 } from '../../util/utf8.js'
import { type FieldKind, type PackedArray, type PackedKind, packedArrays, type ScalarKind } from './fields.js'

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

/**
 * Reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding). Packed floats are views of
 * little-endian bytes: every JavaScript host is little-endian today.
 */
export class Reader {
  readonly buf: Uint8Array
  /** The position of the next byte, from the start of `buf`. */
  pos: number
  /** The position at which the message ends. */
  len: number
  readonly #view: DataView
  /** The halves of the last integer of 64 bits. */
  #low = 0
  #high = 0

  /** Reads bytes[start, end). */
  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.buf = bytes
    this.pos = start
    this.len = end
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Reads a tag: the number of a field, and its wire type in the lowest three bits. */
  tag(): number {
    return this.#uint32(15)
  }

  /** Reads a length prefix, and returns the position at which the field ends. */
  end(): number {
    return this.#endOf(this.#uint32(7))
  }

  int32(): number {
    this.#readHalves()
    return this.#low
  }

  /** Reads an integer of 64 bits into words[at] and words[at + 1]. */
  int64Into(words: Int32Array, at: number): void {
    this.#readHalves()
    words[at] = this.#low
    words[at + 1] = this.#high
  }

  /** Reads one value of a field. Bytes are a view of the input, not a copy. */
  scalar(kind: ScalarKind): number | bigint | string | Uint8Array {
    switch (kind) {
      case 'int32':
        return this.int32()
      case 'int64':
        this.#readHalves()
        return (BigInt(this.#high) << 32n) | BigInt(this.#low >>> 0)
      case 'uint64':
        this.#readHalves()
        return (BigInt(this.#high >>> 0) << 32n) | BigInt(this.#low >>> 0)
      case 'float':
        this.pos = this.#endOf(4)
        return this.#view.getFloat32(this.pos - 4, true)
      case 'double':
        this.pos = this.#endOf(8)
        return this.#view.getFloat64(this.pos - 8, true)
      case 'string':
        return decodeUtf8(this.#bytes())
      case 'bytes':
        return this.#bytes()
    }
  }

  /** Skips the value that follows a tag, nested groups included. */
  skip(tag: number, depth = 0): void {
    const [number, wireType] = [tag >>> 3, tag & 7]
    if (number === 0) throw new RangeError('a field has the number 0')
    if (wireType === 0) while (this.#byte() > 127);
    else if (wireType === 1) this.pos = this.#endOf(8)
    else if (wireType === 2) this.pos = this.end()
    else if (wireType === 5) this.pos = this.#endOf(4)
    else if (wireType === 3) this.#skipGroup(number, depth)
    else throw new RangeError(`a field has the wire type ${wireType}`)
  }

  #skipGroup(number: number, depth: number): void {
    if (depth >= maxGroupDepth) throw new RangeError(`groups are nested more than ${maxGroupDepth} deep`)
    const end = ((number << 3) | 4) >>> 0
    for (let tag = this.tag(); tag !== end; tag = this.tag()) this.skip(tag, depth + 1)
  }

  /** The position after the next `count` bytes. */
  #endOf(count: number): number {
    const left = this.len - this.pos
    if (count > left) throw new RangeError(`the length is ${count} bytes, but only ${Math.max(left, 0)} are left`)
    return this.pos + count
  }

  #byte(): number {
    if (this.pos >= this.len) throw new RangeError('a number is cut off')
    return this.buf[this.pos++]!
  }

  #bytes(): Uint8Array {
    const end = this.end()
    const bytes = this.buf.subarray(this.pos, end)
    this.pos = end
    return bytes
  }

  /** Reads an integer of at most five bytes. @param most the largest value of the fifth */
  #uint32(most: number): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#byte()
      if (shift === 28 && byte > most) break
      value |= (byte & 127) << shift
      if (byte < 128) return value >>> 0
    }
    throw new RangeError('a tag or a length is too long')
  }

  /** Reads an integer of at most ten bytes, each with seven bits. */
  #readHalves(): void {
    let [low, high] = [0, 0]
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte()
      const bits = byte & 127
      if (shift < 32) low |= bits << shift
      if (shift === 28) high = bits >> 4
      else if (shift > 28) high |= bits << (shift - 32)
      if (byte < 128) {
        this.#low = low
        this.#high = high
        return
      }
    }
    throw new RangeError('an integer has more than ten bytes')
  }
}

/** The deepest nesting of groups, which occur in unknown fields only. */
const maxGroupDepth = 100

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
  const end = reader.end()
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
    const words = new Int32Array(values.buffer)
    for (let i = 0; i < words.length; i += 2) reader.int64Into(words, i)
  }
  if (reader.pos !== end) throw new RangeError('the last number is cut off')
  reader.len = len
  return values
}

/** Writes the protobuf wire format. */
export class Writer {
  /** The number of bytes written. */
  pos = 0
  #bytes = new Uint8Array(64)

  uint32(value: number): this {
    return this.#integer(value, 0)
  }

  tag(number: number, wireType: WireType): this {
    return this.uint32((number << 3) | wireType)
  }

  /** Writes a number without its tag. */
  number(kind: PackedKind, value: number | bigint): this {
    if (typeof value === 'bigint')
      return this.#integer(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)))
    if (kind === 'float') return this.raw(new Uint8Array(Float32Array.of(value).buffer))
    if (kind === 'double') return this.raw(new Uint8Array(Float64Array.of(value).buffer))
    return this.#integer(value, value < 0 ? -1 : 0)
  }

  /** Writes the length of some bytes and the bytes. */
  bytes(bytes: Uint8Array): this {
    return this.uint32(bytes.length).raw(bytes)
  }

  /** Writes the length of `text` in UTF-8 and its bytes. */
  text(text: string): this {
    return this.bytes(encodeUtf8(text))
  }

  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length).set(bytes, this.pos)
    this.pos += bytes.length
    return this
  }

  /** The bytes written so far, valid until the next call. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.pos)
  }

  /** A copy of the bytes written so far. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.pos)
  }

  /** Starts again. */
  reset(): void {
    this.pos = 0
  }

  /** Writes an integer of 64 bits, from its halves. */
  #integer(low: number, high: number): this {
    const bytes = this.#reserve(10)
    let [l, h] = [low >>> 0, high >>> 0]
    while (h > 0 || l > 127) {
      bytes[this.pos++] = (l & 127) | 128
      l = ((l >>> 7) | (h << 25)) >>> 0
      h >>>= 7
    }
    bytes[this.pos++] = l
    return this
  }

  /** Returns the bytes, with room for `count` more. */
  #reserve(count: number): Uint8Array {
    const needed = this.pos + count
    if (needed <= this.#bytes.length) return this.#bytes
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length))
    grown.set(this.view())
    this.#bytes = grown
    return grown
  }
}

/** The content of a packed field, without tag and length. Floats in a typed array are a view of it. */
export function toPackedBytes(kind: PackedKind, values: PackedArray | readonly (number | bigint)[]): Uint8Array {
  if (kind === 'float' || kind === 'double') {
    const array = ArrayBuffer.isView(values) ? values : new packedArrays[kind](values as readonly number[])
    return bytesOf(array)
  }
  const out = new Writer()
  for (const value of values) out.number(kind, value)
  return out.view()
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
  const reader = new Reader(bytes, start, end)
  while (reader.pos < end) {
    const from = reader.pos
    const tag = reader.tag()
    let body = reader.pos
    if ((tag & 7) === 2) {
      const to = reader.end()
      body = reader.pos
      reader.pos = to
    } else {
      reader.skip(tag)
    }
    yield { number: tag >>> 3, wireType: tag & 7, start: from, body, end: reader.pos }
  }
}
