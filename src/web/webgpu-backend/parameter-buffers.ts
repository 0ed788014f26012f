import { sizeOf } from '../../ir/tensor.js'
import type { DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { GpuTensor } from '../runtime/webgpu-sessions.js'
import { bufferUsage } from './constants.js'
import { summingOn } from './gradient-norm-shaders.js'

/** Buffers of one parameter. */
export interface ParameterBuffers {
  readonly name: string
  readonly count: number
  readonly theta: GpuTensor
  readonly moments: Readonly<Record<string, GPUBuffer>>
  /** F of the current mask and of the pending one; null without smoothing. */
  readonly curvature: { readonly current: GPUBuffer; readonly pending: GPUBuffer } | null
  /** Number of parts that are summed or counted by one workgroup each. */
  readonly parts: number
  /** First word of the parameter in the mask. */
  readonly word: number
  /** Elements per invocation of a formula shader. */
  readonly width: 1 | 4
}

/** The number of words for `count` bits. */
export const wordCount = (count: number): number => Math.ceil(count / 32)

const allUsages = bufferUsage.storage | bufferUsage.copyFrom | bufferUsage.copyTo

/** Allocates and owns the buffers of a backend. */
export class BufferAllocator {
  readonly #device: GPUDevice
  readonly #buffers: GPUBuffer[] = []

  constructor(device: GPUDevice) {
    this.#device = device
  }

  /**
   * Creates a zeroed storage buffer, of a multiple of 16 bytes.
   * @throws OnnxIreError `runtime` if the device cannot bind a buffer of this size
   */
  buffer(label: string, bytes: number, usage = 0): GPUBuffer {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#device.limits
    const size = Math.max(16, Math.ceil(bytes / 16) * 16)
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize)
    if (size > most)
      throw new OnnxIreError('runtime', `${label} has ${size} bytes; this WebGPU device binds at most ${most} at once`)
    const buffer = this.#device.createBuffer({ label, size, usage: allUsages | usage })
    this.#buffers.push(buffer)
    return buffer
  }

  /**
   * Runs `create`, which creates buffers.
   * @throws OnnxIreError `runtime` if the GPU's memory is too small
   */
  async allocate<T>(create: () => T): Promise<T> {
    this.#device.pushErrorScope('out-of-memory')
    let created: T
    let failure: GPUError | null
    try {
      created = create()
    } finally {
      failure = await this.#device.popErrorScope()
    }
    if (!failure) return created
    throw new OnnxIreError('runtime', `the training state does not fit the GPU's memory: ${failure.message}`)
  }

  /** Creates the buffers of all parameters. */
  parameters(
    dims: readonly (readonly [name: string, dims: readonly number[]])[],
    moments: readonly string[],
    smoothed: boolean,
  ): ParameterBuffers[] {
    let word = 0
    return dims.map(([name, dims]) => {
      const count = sizeOf(dims)
      const create = (what: string) => this.buffer(`${what} of '${name}'`, 4 * count)
      const buffers: ParameterBuffers = {
        name,
        count,
        theta: new GpuTensor(this.#device, 'float32', dims, create('parameter')),
        moments: Object.fromEntries(moments.map((moment) => [moment, create(moment)])),
        curvature: smoothed ? { current: create('curvature'), pending: create('pending curvature') } : null,
        parts: Math.ceil(count / summingOn(this.#device).part),
        word,
        width: count % 4 === 0 ? 4 : 1,
      }
      word += wordCount(count)
      return buffers
    })
  }

  /** Creates another tensor of a parameter's shape. */
  like({ name, count, theta }: ParameterBuffers, what: string): GpuTensor {
    return new GpuTensor(this.#device, 'float32', theta.dims, this.buffer(`${what} of '${name}'`, 4 * count))
  }

  release(): void {
    for (const buffer of this.#buffers) buffer.destroy()
  }
}

/** The parameters as device tensors by name. */
export const toDeviceTensors = (parameters: readonly ParameterBuffers[]): DeviceTensors =>
  Object.fromEntries(parameters.map(({ name, theta }) => [name, theta]))
