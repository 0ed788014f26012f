import { type DType, dtypes, type TypedArray } from '../../ir/dtype.js'
import type { TensorData } from '../../ir/tensor.js'

/** Builder of an array of unknown length; the capacity doubles when it is full. */
export class ArrayBuilder {
  readonly #strings: string[] = []
  #buffer: TypedArray | null
  #used = 0

  constructor(dtype: DType) {
    const { array: Elements } = dtypes[dtype]
    this.#buffer = Elements && new Elements(1024)
  }

  push(value: number | bigint | string): void {
    if (typeof value === 'string') {
      this.#strings.push(value)
      return
    }
    const buffer = this.#buffer!
    if (this.#used === buffer.length) {
      const Elements = buffer.constructor as new (length: number) => TypedArray
      this.#buffer = new Elements(2 * buffer.length)
      new Uint8Array(this.#buffer.buffer).set(new Uint8Array(buffer.buffer))
    }
    this.#buffer![this.#used++] = value
  }

  /** Elements pushed so far. */
  elements(): TensorData {
    return this.#buffer ? this.#buffer.slice(0, this.#used) : this.#strings
  }
}
