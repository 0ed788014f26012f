import { OnnxIreError } from '../../util/errors.js'
import { MAP_READ, USAGE } from './flags.js'
import { readState, STATE_BYTES, type StateReport } from './state.js'

/** A device and the error that says that it is lost. */
interface Life {
  readonly gpu: GPUDevice
  readonly lost: Promise<OnnxIreError>
}

/** Brings the device's state back, 48 bytes at a time, through staging buffers that are used again. */
export class Reports {
  readonly #life: Life
  readonly #state: GPUBuffer
  readonly #free: GPUBuffer[] = []
  readonly #all: GPUBuffer[] = []

  constructor(life: Life, state: GPUBuffer) {
    this.#life = life
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
      await mapped(this.#life, staging)
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
    const staging = this.#life.gpu.createBuffer({ label: 'report', size: STATE_BYTES, usage })
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
async function mapped({ lost }: Life, buffer: GPUBuffer): Promise<void> {
  try {
    await buffer.mapAsync(MAP_READ)
  } catch (cause) {
    // The news of a loss may come a moment later.
    const loss = await Promise.race([lost, new Promise<null>((resolve) => setTimeout(resolve, 20, null))])
    if (loss) throw loss
    throw new OnnxIreError('runtime', `WebGPU could not read a buffer back: ${(cause as Error).message}`, { cause })
  }
}
