import { type DType, dtypes } from '../../ir/dtype.js'
import { sizeOf } from '../../ir/tensor.js'
import type { DeviceTensor } from '../../runtime/device.js'

/**
 * A device tensor of the WebGPU runtime. Its elements are at the start of `buffer`, which may be longer (onnxruntime
 * rounds sizes up) and is owned by the creator of the tensor.
 */
export class GpuTensor implements DeviceTensor {
  /** Device of its buffer. */
  readonly gpu: GPUDevice
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly buffer: GPUBuffer
  #free: (() => void) | undefined

  /** @param free frees the buffer; called once */
  constructor(gpu: GPUDevice, dtype: DType, dims: readonly number[], buffer: GPUBuffer, free?: () => void) {
    this.gpu = gpu
    this.dtype = dtype
    this.dims = dims
    this.buffer = buffer
    this.#free = free
  }

  /** Number of elements; it does not follow from the size of the buffer. */
  get elements(): number {
    return sizeOf(this.dims)
  }

  /** Number of bytes of the elements. */
  get byteLength(): number {
    return Math.ceil((this.elements * dtypes[this.dtype].bits) / 8)
  }

  release(): void {
    const free = this.#free
    this.#free = undefined
    free?.()
  }
}
