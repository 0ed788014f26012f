import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
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

/** What has not been closed in this thread. */
const engines = new Set<Engine>()
let prepared = false

/**
 * A GPU's library may be torn down before onnxruntime's destructors run, which then crash in it. So everything is freed when
 * the process, or the worker thread, ends; where a run is in the way of that, the process ends without destructors.
 */
function freeAtExit(ort: Ort) {
  if (prepared) return
  prepared = true
  process.once('exit', () => {
    const free = [...engines].map((engine) => engine.abandon())
    if (free.every(Boolean)) ort.ReleaseEnv(ort.env)
    else ort.skipDestructors()
  })
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
  /** Makes session options. They are made for each session anew: a provider may count the sessions that its options made. */
  readonly #options: () => Handle
  readonly #host: Handle
  readonly #memory: Handle
  readonly #copies: Copies
  readonly #sessions = new Set<Session>()
  readonly #values = new Set<Value>()
  #tail: Promise<void> = Promise.resolve()
  /** A call is in native code, or about to be. */
  #busy = false
  #lost: OnnxIreError | undefined

  /** Throws 'runtime' with why the provider cannot start, 'invalid-option'. */
  constructor(ort: Ort, provider: Provider, options: EngineOptions) {
    this.#ort = ort
    this.#invoke = options.blocking ? (call, ...args) => call(...args) : (call, ...args) => call.later(...args)
    const made = (of: NodeOptions & { threads: number }) => {
      const handle = sessionOptions(ort, of)
      try {
        provider.append(ort, handle.address)
      } catch (error) {
        handle.release()
        throw error
      }
      return handle
    }
    this.#options = () => made(options)
    // What is wrong with them is said at once.
    this.#options().release()
    engines.add(this)
    freeAtExit(ort)
    this.#host = memoryInfo(ort, cpuMemory)
    this.#memory = memoryInfo(ort, provider.memory)
    this.#copies = new Copies(ort, this.#invoke, () => made({ threads: 1 }), this.#host.address)
  }

  compile(model: Uint8Array): Promise<Session> {
    return this.#queue('onnxruntime refused the model', async () => {
      const session = await Session.create(this.#ort, this.#invoke, this.#options(), model)
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
    await this.#queue('onnxruntime could not be closed', () => this.#free())
  }

  /** Frees everything now, for the process ends; where native code is running nothing is touched, and the answer false. */
  abandon(): boolean {
    if (this.#busy || this.#lost) return false
    this.#free()
    return true
  }

  #free() {
    // Memory goes back to the provider of its session, so tensors go first.
    for (const value of this.#values) value.release()
    for (const session of this.#sessions) session.release()
    this.#copies.release()
    for (const handle of [this.#host, this.#memory]) handle.release()
    engines.delete(this)
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
      this.#busy = true
      try {
        return await work()
      } catch (error) {
        throw this.#explained(failure, error)
      } finally {
        this.#busy = false
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
