import { textOf } from './utf8.js'

/** Groups within groups that are stepped over. */
const maxDepth = 100

/**
 * Reads the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) from the bytes [pos, len).
 * Throws RangeError where they end too early, Error where they cannot be what is read.
 */
export class Reader {
  readonly buf: Uint8Array
  pos: number
  len: number
  /** The upper 32 bits of the last varint, signed. */
  high = 0
  readonly #view: DataView

  constructor(buf: Uint8Array, pos = 0, len = buf.length) {
    this.buf = buf
    this.pos = pos
    this.len = len
    this.#view = new DataView(buf.buffer, buf.byteOffset, buf.byteLength)
  }

  /** number << 3 | wire type, of a field */
  tag(): number {
    return this.#varint('tag', 5, 15) >>> 0
  }

  /** What measures the bytes that follow it: below 2^31. */
  size(): number {
    return this.#varint('length', 5, 7)
  }

  /** The lower 32 bits of a varint, signed; the upper ones are `high`. */
  int32(): number {
    return this.#varint('varint', 10, 127)
  }

  int64(): bigint {
    const low = this.int32()
    return (BigInt(this.high) << 32n) | BigInt(low >>> 0)
  }

  uint64(): bigint {
    return BigInt.asUintN(64, this.int64())
  }

  float(): number {
    return this.#view.getFloat32(this.#step(4), true)
  }

  double(): number {
    return this.#view.getFloat64(this.#step(8), true)
  }

  /** A view. */
  bytes(): Uint8Array {
    const length = this.size()
    const start = this.#step(length)
    return this.buf.subarray(start, start + length)
  }

  string(): string {
    return textOf(this.bytes())
  }

  /** Steps over the value that stands behind a tag, groups with all that is in them. */
  skip(tag: number, depth = 0): void {
    if (depth > maxDepth) throw new Error('max depth exceeded')
    if (tag >>> 3 === 0) throw new Error('illegal tag: field number 0')
    switch (tag & 7) {
      case 0:
        while (this.buf[this.#step(1)]! > 127);
        return
      case 1:
        this.#step(8)
        return
      case 2:
        this.#step(this.size())
        return
      case 3:
        for (;;) {
          const inner = this.tag()
          const ends = (inner & 7) === 4 && inner > 7
          if (!ends) this.skip(inner, depth + 1)
          else if (inner >>> 3 === tag >>> 3) return
          else throw new Error('invalid end group tag')
        }
      case 5:
        this.#step(4)
        return
      default:
        throw new Error(`invalid wire type ${tag & 7} at offset ${this.pos}`)
    }
  }

  /** Where the next `count` bytes begin, stepping over them. */
  #step(count: number): number {
    const { pos, len } = this
    if (pos + count > len) throw new RangeError(`index out of range: ${pos} + ${count} > ${len}`)
    this.pos = pos + count
    return pos
  }

  /** 7 bits a byte, the lowest first, in at most `most` bytes, the last of these at most `largest`. */
  #varint(what: string, most: number, largest: number): number {
    let low = 0
    this.high = 0
    for (let i = 0; ; i++) {
      const byte = this.buf[this.#step(1)]!
      if (i === most - 1 && byte > largest) throw new Error(`invalid ${what} encoding`)
      const bits = byte & 127
      if (i < 5) low |= bits << (7 * i)
      if (i === 4) this.high = bits >> 4
      else if (i > 4) this.high |= bits << (7 * i - 32)
      if (byte < 128) return low
    }
  }
}
