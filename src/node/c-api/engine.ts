import { OnnxIreError } from '../../errors.js'
import type { Tensor } from '../../ir/tensor.js'
import type { NodeOptions } from '../runtime.js'
import { Copies } from './copies.js'
import { isDeviceLost } from './cuda.js'
import { Handle } from './handle.js'
import { sessionOptions } from './options.js'
import { answer, type Ort, OrtFailure } from './ort.js'
import { cpuMemory, type Provider } from './provider.js'
import { type Invoke, Session } from './session.js'
import { tensorOf, type Value } from './value.js'

export interface EngineOptions extends Omit<NodeOptions, 'provider' | 'webgpu' | 'worker'> {
  readonly threads: number
  readonly blocking: boolean
}

/** Where an output of a run goes. */
export type Place = 'host' | 'device'

/**
 * onnxruntime on one provider, by its C API. Calls are carried out one at a time in the order they were made. Tensors are
 * positional: inputs as `Session.inputs`, outputs as `Session.outputs`.
 */
export class Engine {
  readonly #ort: Ort
  readonly #invoke: Invoke
  readonly #options: Handle
  readonly #copyOptions: Handle
  readonly #host: Handle
  readonly #memory: Handle
  readonly #copies: Copies
  readonly #sessions = new Set<Session>()
  readonly #values = new Set<Value>()
  #tail: Promise<void> = Promise.resolve()
  #lost: OnnxIreError | undefined

  /** Throws 'runtime' with why the provider cannot start, 'invalid-option'. */
  constructor(ort: Ort, provider: Provider, options: EngineOptions) {
    this.#ort = ort
    this.#invoke = options.blocking ? (call, ...args) => call(...args) : (call, ...args) => call.later(...args)
    this.#options = sessionOptions(ort, options)
    this.#copyOptions = sessionOptions(ort, { threads: 1 })
    for (const { address } of [this.#options, this.#copyOptions]) provider.append(ort, address)
    this.#host = memoryInfo(ort, cpuMemory)
    this.#memory = memoryInfo(ort, provider.memory)
    this.#copies = new Copies(ort, this.#invoke, this.#copyOptions.address, this.#host.address)
  }

  compile(model: Uint8Array): Promise<Session> {
    return this.#queue('onnxruntime refused the model', async () => {
      const session = await Session.create(this.#ort, this.#invoke, this.#options.address, model)
      this.#sessions.add(session)
      return session
    })
  }

  /** Outputs that went to the host are tensors, those that stayed on the device values. */
  run(session: Session, feeds: readonly (Tensor | Value)[], places: readonly Place[]): Promise<(Tensor | Value)[]> {
    return this.#queue('onnxruntime could not run the model', async () => {
      const [host, memory] = [this.#host.address, this.#memory.address]
      const memories = places.map((place) => (place === 'host' ? host : memory))
      const outputs = await session.run(this.#invoke, host, feeds, memories, (shared, i) =>
        places[i] === 'host' ? shared : this.#copies.to(memory, shared),
      )
      return outputs.map((value, i) => (places[i] === 'device' ? this.#kept(value) : this.#taken(value)))
    })
  }

  upload(tensor: Tensor): Promise<Value> {
    return this.#queue('onnxruntime could not copy to the device', async () =>
      this.#kept(await this.#copies.to(this.#memory.address, tensor)),
    )
  }

  download(value: Value): Promise<Tensor> {
    return this.#queue('onnxruntime could not copy from the device', async () =>
      this.#taken(await this.#copies.to(this.#host.address, value)),
    )
  }

  /** Frees a value that stayed on the device. */
  free(value: Value): Promise<void> {
    return this.#queue('onnxruntime could not free a tensor', () => {
      value.release()
      this.#values.delete(value)
    })
  }

  release(session: Session): Promise<void> {
    return this.#queue('onnxruntime could not free a session', () => {
      session.release()
      this.#sessions.delete(session)
    })
  }

  /** Frees everything; the engine is of no use afterwards. */
  async close(): Promise<void> {
    await this.#tail
    // What a lost GPU held is gone, and freeing it calls into what is broken.
    if (this.#lost) return
    await this.#queue('onnxruntime could not be closed', () => {
      // Memory goes back to the provider of its session, so tensors go first.
      for (const value of this.#values) value.release()
      for (const session of this.#sessions) session.release()
      this.#copies.release()
      for (const handle of [this.#options, this.#copyOptions, this.#host, this.#memory]) handle.release()
    })
  }

  #kept(value: Value): Value {
    this.#values.add(value)
    return value
  }

  #taken(value: Value): Tensor {
    try {
      return tensorOf(this.#ort, value)
    } finally {
      value.release()
    }
  }

  #queue<T>(failure: string, work: () => T | Promise<T>): Promise<T> {
    const result = this.#tail.then(async () => {
      if (this.#lost) throw this.#lost
      try {
        return await work()
      } catch (error) {
        throw this.#explained(failure, error)
      }
    })
    this.#tail = result.then(
      () => {},
      () => {},
    )
    return result
  }

  #explained(failure: string, error: unknown): unknown {
    if (!(error instanceof OrtFailure)) return error
    const message = `${failure}: ${error.message}`
    if (!isDeviceLost(error.message)) return new OnnxIreError('runtime', message, { cause: error })
    this.#lost = new OnnxIreError('device-lost', `the GPU is of no more use to this process; ${message}`, {
      cause: error,
    })
    return this.#lost
  }
}

/** OrtDeviceAllocator and OrtMemTypeDefault: memory as the provider itself hands it out. */
function memoryInfo(ort: Ort, { name, device }: Provider['memory']): Handle {
  const address = answer((out) => ort.CreateMemoryInfo(name, 0, device, 0, out))
  return new Handle('memory info', address, ort.ReleaseMemoryInfo)
}
