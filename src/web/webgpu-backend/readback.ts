import { notFiniteAt } from '../../optim/gradient-norm.js'
import { OnnxIreError } from '../../util/errors.js'
import { MAP_READ, USAGE } from './constants.js'
import { type ParameterBuffers, partCount } from './parameter-buffers.js'
import { decodeState, type Fault, STATE_BYTES, type Stage, type StepState } from './step-state.js'

/** A device and the promise of the error of its loss. */
interface Life {
  readonly gpu: GPUDevice
  readonly lost: Promise<OnnxIreError>
}

/** Reads the step's state back from the device, 48 bytes at a time, through staging buffers that are reused. */
export class StateReadback {
  readonly #life: Life
  readonly #state: GPUBuffer
  readonly #free: GPUBuffer[] = []
  readonly #all: GPUBuffer[] = []

  constructor(life: Life, state: GPUBuffer) {
    this.#life = life
    this.#state = state
  }

  /** Copies the state as of this point of the encoder. */
  copy(encoder: GPUCommandEncoder): PendingRead {
    const staging = this.#free.pop() ?? this.#createBuffer()
    encoder.copyBufferToBuffer(this.#state, 0, staging, 0, STATE_BYTES)
    const discard = () => {
      this.#free.push(staging)
    }
    const finish = async () => {
      await mapForReading(this.#life, staging)
      const state = decodeState(staging.getMappedRange())
      staging.unmap()
      discard()
      return state
    }
    return { finish, discard }
  }

  release(): void {
    for (const staging of this.#all) staging.destroy()
  }

  #createBuffer(): GPUBuffer {
    const usage = USAGE.mapRead | USAGE.copyTo
    const staging = this.#life.gpu.createBuffer({ label: 'state readback', size: STATE_BYTES, usage })
    this.#all.push(staging)
    return staging
  }
}

/** A copy of the state that is not on the host yet. Call one of the methods, once. */
export interface PendingRead {
  /** @throws 'device-lost' */
  finish(): Promise<StepState>
  discard(): void
}

/** Maps a buffer for reading. Throws 'device-lost' if the device is lost, otherwise 'runtime'. */
async function mapForReading({ lost }: Life, buffer: GPUBuffer): Promise<void> {
  try {
    await buffer.mapAsync(MAP_READ)
  } catch (cause) {
    // The event of a loss may come a moment later.
    const loss = await Promise.race([lost, new Promise<null>((resolve) => setTimeout(resolve, 20, null))])
    if (loss) throw loss
    throw new OnnxIreError('runtime', `WebGPU could not read a buffer: ${(cause as Error).message}`, { cause })
  }
}

/** The tensors that a stage of a step checked, for messages. */
export interface CheckedStage {
  readonly place: string
  /** 'loss gradient' */
  readonly what: string
  /** In the order of their parts. */
  readonly tensors: readonly ParameterBuffers[]
}

/** Creates the 'not-finite' error of a fault. */
export function createFaultError(fault: Fault, stages: ReadonlyMap<Stage, CheckedStage>): OnnxIreError {
  const { place, what, tensors } = stages.get(fault.stage)!
  let part = fault.part
  let at = 0
  for (; part >= partCount(tensors[at]!.count); at++) part -= partCount(tensors[at]!.count)
  const { name, count } = tensors[at]!
  return notFiniteAt(place, `${what} of '${name}'`, fault.value, fault.element, count)
}
