import { textOf } from './utf8.js'

/** Groups, which hold fields of any kind, may be nested no deeper when they are skipped. */
const maxGroups = 100

/**
 * Reads the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) from bytes[pos, len), `pos`
 * counting from the start of `bytes`. Throws a RangeError where the bytes are no such thing.
 */
export class Reader {
  readonly buf: Uint8Array
  pos: number
  len: number
  /** The lower and the upper 32 bits, signed, of the last varint. */
  low = 0
  high = 0
  readonly #view: DataView

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.buf = bytes
    this.pos = start
    this.len = end
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** A field's number and wire type: number << 3 | type. */
  tag(): number {
    const tag = this.uint32()
    if (tag >>> 3 === 0) throw new RangeError('a field has the number 0')
    return tag
  }

  /** A varint that has to fit 32 bits. */
  uint32(): number {
    this.varint()
    if (this.high !== 0) throw new RangeError(`it announces ${this.high >>> 0} times 2^32 bytes or more`)
    return this.low >>> 0
  }

  /** A varint's lower 32 bits: negative numbers are written with 64. */
  int32(): number {
    this.varint()
    return this.low
  }

  /** Reads 7 bits a byte, lowest first, into `low` and `high`. */
  varint(): void {
    let [low, high] = [0, 0]
    for (let shift = 0; ; shift += 7) {
      if (this.pos >= this.len) throw new RangeError('it is cut off')
      if (shift > 63) throw new RangeError('a number has more than 10 bytes')
      const byte = this.buf[this.pos++]!
      const bits = byte & 127
      if (shift < 28) low |= bits << shift
      else if (shift === 28) {
        low |= bits << 28
        high |= bits >>> 4
      } else high |= bits << (shift - 32)
      if (byte < 128) break
    }
    this.low = low
    this.high = high
  }

  float(): number {
    return this.#view.getFloat32(this.#advance(4), true)
  }

  double(): number {
    return this.#view.getFloat64(this.#advance(8), true)
  }

  /** A view of what a length prefix measures. */
  bytes(): Uint8Array {
    const length = this.uint32()
    const start = this.#advance(length)
    return this.buf.subarray(start, start + length)
  }

  string(): string {
    return textOf(this.bytes())
  }

  /** Steps over a field's value, which for a group is everything up to the end of it. */
  skip(tag: number, depth = 0): void {
    const wireType = tag & 7
    if (wireType === 0) this.varint()
    else if (wireType === 1) this.#advance(8)
    else if (wireType === 2) this.bytes()
    else if (wireType === 5) this.#advance(4)
    else if (wireType === 3) this.#skipGroup(tag >>> 3, depth)
    else throw new RangeError(`a field has wire type ${wireType}, which there is not`)
  }

  #skipGroup(number: number, depth: number): void {
    if (depth > maxGroups) throw new RangeError(`groups are nested more than ${maxGroups} deep`)
    for (;;) {
      const tag = this.tag()
      if ((tag & 7) !== 4) this.skip(tag, depth + 1)
      else if (tag >>> 3 === number) return
      else throw new RangeError(`group ${number} ends as group ${tag >>> 3}`)
    }
  }

  #advance(bytes: number): number {
    const start = this.pos
    const left = this.len - start
    if (bytes > left) throw new RangeError(`it announces ${bytes} bytes where ${Math.max(left, 0)} are left`)
    this.pos += bytes
    return start
  }
}
