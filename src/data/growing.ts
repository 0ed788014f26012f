import { type DType, dtypes, type TypedArray } from '../ir/dtype.js'
import type { TensorData } from '../ir/tensor.js'

/** Elements of a tensor whose number is not known yet: room doubles as it runs out. */
export class Growing {
  readonly #strings: string[] = []
  #room: TypedArray | null
  #used = 0

  constructor(dtype: DType) {
    const { array: Elements } = dtypes[dtype]
    this.#room = Elements && new Elements(1024)
  }

  push(value: number | bigint | string): void {
    if (typeof value === 'string') {
      this.#strings.push(value)
      return
    }
    const room = this.#room!
    if (this.#used === room.length) {
      const Elements = room.constructor as new (length: number) => TypedArray
      this.#room = new Elements(2 * room.length)
      new Uint8Array(this.#room.buffer).set(new Uint8Array(room.buffer))
    }
    this.#room![this.#used++] = value
  }

  /** Those pushed so far. */
  elements(): TensorData {
    return this.#room ? this.#room.slice(0, this.#used) : this.#strings
  }
}
