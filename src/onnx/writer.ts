import { utf8Of } from './utf8.js'

/** Writes the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding). */
export class Writer {
  /** Bytes written. */
  len = 0
  #bytes = new Uint8Array(64)
  #view = new DataView(this.#bytes.buffer)

  uint32(value: number): this {
    return this.#varint(value >>> 0, 0)
  }

  /** Negative numbers take 10 bytes. */
  int32(value: number): this {
    return this.#varint(value >>> 0, value < 0 ? 0xffffffff : 0)
  }

  int64(value: bigint): this {
    return this.#varint(Number(BigInt.asUintN(32, value)), Number(BigInt.asUintN(32, value >> 32n)))
  }

  float(value: number): this {
    this.#view.setFloat32(this.#room(4), value, true)
    return this
  }

  double(value: number): this {
    this.#view.setFloat64(this.#room(8), value, true)
    return this
  }

  string(text: string): this {
    const bytes = utf8Of(text)
    this.uint32(bytes.length)
    return this.raw(bytes)
  }

  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  /** What was written so far, in memory of its own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.len)
  }

  reset(): void {
    this.len = 0
  }

  /** 7 bits a byte, lowest first; both halves unsigned. */
  #varint(low: number, high: number): this {
    while (high > 0 || low > 127) {
      this.#byte((low & 127) | 128)
      low = ((low >>> 7) | (high << 25)) >>> 0
      high >>>= 7
    }
    return this.#byte(low)
  }

  #byte(value: number): this {
    const at = this.#room(1)
    this.#bytes[at] = value
    return this
  }

  /** Where the next bytes go, once there is room for them. */
  #room(bytes: number): number {
    const at = this.len
    this.len += bytes
    if (this.len > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.len))
      grown.set(this.#bytes)
      this.#bytes = grown
      this.#view = new DataView(grown.buffer)
    }
    return at
  }
}
