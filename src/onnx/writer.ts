import { utf8Of } from './utf8.js'

/** Writes the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) to bytes that grow. */
export class Writer {
  /** Bytes written. */
  len = 0
  #bytes = new Uint8Array(128)
  #view = new DataView(this.#bytes.buffer)

  uint32(value: number): this {
    return this.#varint(value >>> 0, 0)
  }

  /** As 64 bits, ten bytes where it is negative. */
  int32(value: number): this {
    return this.#varint(value >>> 0, value < 0 ? 0xffffffff : 0)
  }

  /** Signed or not: the bits are the same. */
  int64(value: bigint): this {
    return this.#varint(Number(BigInt.asUintN(32, value)), Number(BigInt.asUintN(32, value >> 32n)))
  }

  float(value: number): this {
    const at = this.#room(4)
    this.#view.setFloat32(at, value, true)
    return this
  }

  double(value: number): this {
    const at = this.#room(8)
    this.#view.setFloat64(at, value, true)
    return this
  }

  /** With its length before it. */
  string(value: string): this {
    const bytes = utf8Of(value)
    return this.uint32(bytes.length).raw(bytes)
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  /** All that was written, until something else is. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.len)
  }

  reset(): void {
    this.len = 0
  }

  /** Where the next `count` bytes go, in bytes that may be others than before. */
  #room(count: number): number {
    const { len } = this
    this.len += count
    if (this.len > this.#bytes.length) {
      const more = new Uint8Array(Math.max(2 * this.#bytes.length, this.len))
      more.set(this.#bytes)
      this.#bytes = more
      this.#view = new DataView(more.buffer)
    }
    return len
  }

  /** 7 bits a byte, the lowest first, of two halves of 32 bits. */
  #varint(low: number, high: number): this {
    while (low > 127 || high > 0) {
      const at = this.#room(1)
      this.#bytes[at] = (low & 127) | 128
      low = ((low >>> 7) | (high << 25)) >>> 0
      high >>>= 7
    }
    const at = this.#room(1)
    this.#bytes[at] = low
    return this
  }
}
