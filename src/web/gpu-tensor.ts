import { type DType, dtypes } from '../ir/dtype.js'
import { sizeOf } from '../ir/tensor.js'
import type { DeviceTensor } from '../runtime/device.js'

/**
 * A device tensor of the WebGPU runtime: its elements are the first of `buffer`, which may be longer than they are
 * (onnxruntime rounds sizes up) and belongs to whoever made the tensor.
 */
export class GpuTensor implements DeviceTensor {
  /** Where its buffer lies. */
  readonly gpu: GPUDevice
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly buffer: GPUBuffer
  #free: (() => void) | undefined

  /** @param free gives the buffer back, once */
  constructor(gpu: GPUDevice, dtype: DType, dims: readonly number[], buffer: GPUBuffer, free?: () => void) {
    this.gpu = gpu
    this.dtype = dtype
    this.dims = dims
    this.buffer = buffer
    this.#free = free
  }

  /** The number of elements, which no size of a buffer tells. */
  get elements(): number {
    return sizeOf(this.dims)
  }

  /** Bytes of the elements. */
  get byteLength(): number {
    return Math.ceil((this.elements * dtypes[this.dtype].bits) / 8)
  }

  release(): void {
    const free = this.#free
    this.#free = undefined
    free?.()
  }
}
