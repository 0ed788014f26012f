import type { Tensor as OrtTensor } from 'onnxruntime-node'
import { dtypes, type TypedArray } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'

/**
 * Reusable buffers for inputs in shared memory. onnxruntime rejects arrays over a SharedArrayBuffer, so such inputs are
 * copied to a buffer that outlives the run: one memcpy and no allocation. An engine runs one program at a time, so all
 * its programs share one buffer per input name: training, curvature and evaluation graph have the same parameters.
 */
export class InputBuffers {
  readonly #buffers = new Map<string, ArrayBuffer>()

  /**
   * Creates the tensor of an input, over its own array or over a copy that is valid until the same name is fed again.
   */
  feed(ort: typeof import('onnxruntime-node'), name: string, { dtype, dims, data }: Tensor): OrtTensor {
    const own = isStrings(data) ? data : this.#unshared(name, dtypes[dtype].array!, data)
    // The constructor's overloads bind each dtype to its array type; checkFeeds has compared them.
    return new ort.Tensor(dtype as 'float32', own as Float32Array, dims)
  }

  /** Frees the buffers of all other input names. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#buffers.keys()) if (!names.has(name)) this.#buffers.delete(name)
  }

  #unshared(name: string, array: NonNullable<(typeof dtypes)['float32']['array']>, data: TypedArray): TypedArray {
    if (!(data.buffer instanceof SharedArrayBuffer)) return data
    let buffer = this.#buffers.get(name)
    if (buffer === undefined || buffer.byteLength < data.byteLength) {
      buffer = new ArrayBuffer(data.byteLength)
      this.#buffers.set(name, buffer)
    }
    new Uint8Array(buffer).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    return new array(buffer, 0, data.length)
  }
}

const isStrings = (data: Tensor['data']): data is readonly string[] => Array.isArray(data)
