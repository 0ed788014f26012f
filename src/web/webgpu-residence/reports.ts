import { OnnxIreError } from '../../errors.js'
import { MAP_READ, USAGE } from './flags.js'
import { readState, STATE_BYTES, type StateReport } from './state.js'

/** Brings the device's state back, 48 bytes at a time, through staging buffers that are used again. */
export class Reports {
  readonly #device: GPUDevice
  readonly #state: GPUBuffer
  readonly #free: GPUBuffer[] = []
  readonly #all: GPUBuffer[] = []

  constructor(device: GPUDevice, state: GPUBuffer) {
    this.#device = device
    this.#state = state
  }

  /** Copies the state as it will be then, and gives what reads it, once. */
  copy(encoder: GPUCommandEncoder): Report {
    const staging = this.#free.pop() ?? this.#make()
    encoder.copyBufferToBuffer(this.#state, 0, staging, 0, STATE_BYTES)
    const drop = () => {
      this.#free.push(staging)
    }
    const read = async () => {
      await mapped(this.#device, staging)
      const state = readState(staging.getMappedRange())
      staging.unmap()
      drop()
      return state
    }
    return { read, drop }
  }

  release(): void {
    for (const staging of this.#all) staging.destroy()
  }

  #make(): GPUBuffer {
    const usage = USAGE.mapRead | USAGE.copyTo
    const staging = this.#device.createBuffer({ label: 'report', size: STATE_BYTES, usage })
    this.#all.push(staging)
    return staging
  }
}

/** One report on its way; it is read once, or dropped. */
export interface Report {
  /** @throws 'device-lost' */
  read(): Promise<StateReport>
  drop(): void
}

/** Maps a buffer to be read. Throws 'device-lost' where the device is, 'runtime' otherwise. */
export async function mapped(device: GPUDevice, buffer: GPUBuffer): Promise<void> {
  try {
    await buffer.mapAsync(MAP_READ)
  } catch (cause) {
    const lost = await Promise.race([device.lost, new Promise<null>((resolve) => setTimeout(resolve, 100, null))])
    const reason = (cause as Error).message
    if (!lost) throw new OnnxIreError('runtime', `WebGPU could not read a buffer back: ${reason}`, { cause })
    throw new OnnxIreError(
      'device-lost',
      `the WebGPU device was lost: ${lost.message || lost.reason}; go on from the last checkpoint on a new device`,
      { cause },
    )
  }
}
