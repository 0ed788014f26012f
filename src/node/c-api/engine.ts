import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import { SerialQueue } from '../../util/serial-queue.js'
import type { NodeOptions } from '../runtime/node.js'
import { Copies } from './copies.js'
import { isDeviceLost } from './cuda.js'
import { Handle } from './handle.js'
import { sessionOptions } from './options.js'
import { type Ort, OrtFailure, readAddress } from './ort.js'
import { cpuMemory, type Provider } from './provider.js'
import { type Invoke, Session } from './session.js'
import { tensorOf, type Value } from './value.js'

/** Options of an engine. */
export interface EngineOptions extends Omit<NodeOptions, 'provider' | 'webgpu' | 'worker'> {
  readonly threads: number
  readonly blocking: boolean
}

/** Engines of this thread that have not been closed. */
const engines = new Set<Engine>()
let prepared = false

/**
 * Frees everything when the process or worker thread exits: a GPU's library may be unloaded before onnxruntime's
 * destructors run, which would then crash. If a run is in progress, the process exits without destructors instead.
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

/** Memory of an output of a run. */
export type TensorLocation = 'host' | 'device'

/**
 * onnxruntime with one provider, called through its C API. Calls are executed one at a time in the order they were
 * made. Tensors are positional: inputs as `Session.inputs`, outputs as `Session.outputs`.
 */
export class Engine {
  readonly #ort: Ort
  readonly #invoke: Invoke
  /** Creates new session options for each session: a provider may count the sessions that share options. */
  readonly #options: () => Handle
  readonly #host: Handle
  readonly #memory: Handle
  readonly #copies: Copies
  readonly #sessions = new Set<Session>()
  readonly #values = new Set<Value>()
  readonly #calls = new SerialQueue()
  /** Whether a call is in native code or about to enter it. */
  #busy = false
  #lost: OnnxIreError | undefined

  /** @throws 'runtime' if the provider cannot start, with the reason; 'invalid-option' */
  constructor(ort: Ort, provider: Provider, options: EngineOptions) {
    this.#ort = ort
    this.#invoke = options.blocking ? (call, ...args) => call(...args) : (call, ...args) => call.later(...args)
    const createOptions = (of: NodeOptions & { threads: number }) => {
      const handle = sessionOptions(ort, of)
      try {
        provider.append(ort, handle.address)
      } catch (error) {
        handle.release()
        throw error
      }
      return handle
    }
    this.#options = () => createOptions(options)
    // Reports invalid options immediately.
    this.#options().release()
    engines.add(this)
    freeAtExit(ort)
    this.#host = memoryInfo(ort, cpuMemory)
    this.#memory = memoryInfo(ort, provider.memory)
    this.#copies = new Copies(ort, this.#invoke, () => createOptions({ threads: 1 }), this.#host.address)
  }

  compile(model: Uint8Array): Promise<Session> {
    return this.#queue('onnxruntime rejected the model', async () => {
      const session = await Session.create(this.#ort, this.#invoke, this.#options(), model)
      this.#sessions.add(session)
      return session
    })
  }

  /** Runs a session. Outputs on the host are returned as tensors, outputs on the device as values. */
  run(
    session: Session,
    feeds: readonly (Tensor | Value)[],
    locations: readonly TensorLocation[],
  ): Promise<(Tensor | Value)[]> {
    return this.#queue('onnxruntime could not run the model', async () => {
      const [host, memory] = [this.#host.address, this.#memory.address]
      const memories = locations.map((location) => (location === 'host' ? host : memory))
      const outputs = await session.run(this.#invoke, host, feeds, memories, (shared, i) =>
        locations[i] === 'host' ? shared : this.#copies.to(memory, shared),
      )
      return outputs.map((value, i) =>
        locations[i] === 'device' ? this.#trackOnDevice(value) : this.#moveToHost(value),
      )
    })
  }

  upload(tensor: Tensor): Promise<Value> {
    return this.#queue('onnxruntime could not copy to the device', async () =>
      this.#trackOnDevice(await this.#copies.to(this.#memory.address, tensor)),
    )
  }

  download(value: Value): Promise<Tensor> {
    return this.#queue('onnxruntime could not copy from the device', async () =>
      this.#moveToHost(await this.#copies.to(this.#host.address, value)),
    )
  }

  /** Frees a value on the device. */
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

  /** Frees everything; the engine cannot be used afterwards. */
  async close(): Promise<void> {
    await this.#calls.run(async () => {})
    // The memory of a lost GPU is gone, and freeing it would call into a broken driver.
    if (this.#lost) return
    await this.#queue('onnxruntime could not be closed', () => this.#free())
  }

  /**
   * Frees everything immediately, because the process ends. Returns false, and frees nothing, if native code is
   * running.
   */
  abandon(): boolean {
    if (this.#busy || this.#lost) return false
    this.#free()
    return true
  }

  #free() {
    // Tensors first: their memory returns to the provider of their session.
    for (const value of this.#values) value.release()
    for (const session of this.#sessions) session.release()
    this.#copies.release()
    for (const handle of [this.#host, this.#memory]) handle.release()
    engines.delete(this)
  }

  #trackOnDevice(value: Value): Value {
    this.#values.add(value)
    return value
  }

  #moveToHost(value: Value): Tensor {
    try {
      return tensorOf(this.#ort, value)
    } finally {
      value.release()
    }
  }

  #queue<T>(failure: string, work: () => T | Promise<T>): Promise<T> {
    return this.#calls.run(async () => {
      if (this.#lost) throw this.#lost
      this.#busy = true
      try {
        return await work()
      } catch (error) {
        throw this.#explain(failure, error)
      } finally {
        this.#busy = false
      }
    })
  }

  #explain(failure: string, error: unknown): unknown {
    if (!(error instanceof OrtFailure)) return error
    const message = `${failure}: ${error.message}`
    if (!isDeviceLost(error.message)) return new OnnxIreError('runtime', message, { cause: error })
    this.#lost = new OnnxIreError('device-lost', `this process can no longer use the GPU; ${message}`, {
      cause: error,
    })
    return this.#lost
  }
}

/** Creates OrtMemoryInfo with OrtDeviceAllocator and OrtMemTypeDefault: memory that the provider allocates. */
function memoryInfo(ort: Ort, { name, device }: Provider['memory']): Handle {
  const address = readAddress((out) => ort.CreateMemoryInfo(name, 0, device, 0, out))
  return new Handle('memory info', address, ort.ReleaseMemoryInfo)
}
