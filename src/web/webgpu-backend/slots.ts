import type { ResidenceSpec } from '../../backend/backend.js'
import { sizeOf } from '../../ir/tensor.js'
import type { DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { GpuTensor } from '../gpu-tensor.js'
import { USAGE } from './flags.js'
import { PART } from './norm-shaders.js'

/** One parameter on the device, with all that is kept of it. */
export interface Slot {
  readonly name: string
  readonly count: number
  readonly theta: GpuTensor
  readonly moments: Readonly<Record<string, GPUBuffer>>
  /** F, and that of a step not applied yet; where it is smoothed. */
  readonly curvature: { readonly kept: GPUBuffer; readonly pending: GPUBuffer } | null
  /** The word of the mask that its elements start at. */
  readonly word: number
  /** Elements per invocation of a formula's shader. */
  readonly width: 1 | 4
}

/** Words of `count` bits. */
export const wordsOf = (count: number): number => Math.ceil(count / 32)

/** Parts of `count` elements, each summed up by one workgroup. */
export const partsOf = (count: number): number => Math.ceil(count / PART)

const ALL = USAGE.storage | USAGE.copyFrom | USAGE.copyTo

/** The buffers of a residence. */
export class Memory {
  readonly #device: GPUDevice
  readonly #buffers: GPUBuffer[] = []

  constructor(device: GPUDevice) {
    this.#device = device
  }

  /**
   * A zeroed buffer that shaders can bind and copies can reach; of 16 bytes at least, and a multiple of them.
   * @throws 'runtime' when the device cannot bind so much
   */
  buffer(label: string, bytes: number, usage = 0): GPUBuffer {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#device.limits
    const size = Math.max(16, Math.ceil(bytes / 16) * 16)
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize)
    if (size > most)
      throw new OnnxIreError('runtime', `${label} has ${size} bytes; this WebGPU device binds at most ${most} at once`)
    const buffer = this.#device.createBuffer({ label, size, usage: ALL | usage })
    this.#buffers.push(buffer)
    return buffer
  }

  /**
   * What `make` makes, once the device has the room for it.
   * @throws 'runtime' when it has not
   */
  async claimed<T>(make: () => T): Promise<T> {
    this.#device.pushErrorScope('out-of-memory')
    let made: T
    let failure: GPUError | null
    try {
      made = make()
    } finally {
      failure = await this.#device.popErrorScope()
    }
    if (!failure) return made
    throw new OnnxIreError('runtime', `the training state does not fit the GPU's memory: ${failure.message}`)
  }

  slots({ base, ire, parameters }: ResidenceSpec): Slot[] {
    let word = 0
    return Object.entries(parameters).map(([name, dims]) => {
      const count = sizeOf(dims)
      const own = (what: string) => this.buffer(`${what} of '${name}'`, 4 * count)
      const slot: Slot = {
        name,
        count,
        theta: new GpuTensor(this.#device, 'float32', dims, own('parameter')),
        moments: Object.fromEntries(base.moments.map((moment) => [moment, own(moment)])),
        curvature: ire && ire.beta > 0 ? { kept: own('curvature'), pending: own('pending curvature') } : null,
        word,
        width: count % 4 === 0 ? 4 : 1,
      }
      word += wordsOf(count)
      return slot
    })
  }

  /** Another tensor of a slot's shape. */
  like({ name, count, theta }: Slot, what: string): GpuTensor {
    return new GpuTensor(this.#device, 'float32', theta.dims, this.buffer(`${what} of '${name}'`, 4 * count))
  }

  release(): void {
    for (const buffer of this.#buffers) buffer.destroy()
  }
}

/** The slots' parameters as they are fed. */
export const parametersOf = (slots: readonly Slot[]): DeviceTensors =>
  Object.fromEntries(slots.map(({ name, theta }) => [name, theta]))
