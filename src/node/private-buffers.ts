import type { Tensor as OrtTensor } from 'onnxruntime-node'
import { dtypes, type TypedArray } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'

/**
 * onnxruntime refuses arrays over a SharedArrayBuffer. Each shared input of a program has one private buffer that
 * outlives the run: feeding it costs one memcpy and no allocation.
 */
export class PrivateBuffers {
  readonly #buffers: (ArrayBuffer | undefined)[] = []

  /** The tensor of input number `index`, over its own array or over this input's private copy of it. */
  feed(ort: typeof import('onnxruntime-node'), index: number, { dtype, dims, data }: Tensor): OrtTensor {
    const own = isStrings(data) ? data : this.#unshared(index, dtypes[dtype].array!, data)
    // The constructor's overloads tie each dtype to its array; checkFeeds has compared the two.
    return new ort.Tensor(dtype as 'float32', own as Float32Array, dims)
  }

  #unshared(index: number, array: NonNullable<(typeof dtypes)['float32']['array']>, data: TypedArray): TypedArray {
    if (!(data.buffer instanceof SharedArrayBuffer)) return data
    let buffer = this.#buffers[index]
    if (buffer === undefined || buffer.byteLength < data.byteLength) {
      buffer = new ArrayBuffer(data.byteLength)
      this.#buffers[index] = buffer
    }
    new Uint8Array(buffer).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    return new array(buffer, 0, data.length)
  }
}

const isStrings = (data: Tensor['data']): data is readonly string[] => Array.isArray(data)
