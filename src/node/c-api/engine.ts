import type { DType } from '../../ir/dtype.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { skipNeedlessPasses } from '../../runtime/graph-passes.js'
import { identityModel } from '../../runtime/ort.js'
import type { CompileHints } from '../../runtime/runtime.js'
import { SerialQueue } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import type { NodeOptions, SessionOptions } from '../runtime/options.js'
import { Handle } from './library.js'
import { type Ort, OrtFailure, readAddress } from './ort.js'
import { cpuMemory, isDeviceLost, type Provider } from './provider.js'
import { type Invoke, OrtSession } from './session.js'
import { type OrtValue, tensorOf } from './value.js'

/** Options of an engine. */
interface EngineOptions extends Omit<NodeOptions, 'provider' | 'webgpu' | 'worker'> {
  readonly threads: number
  /** Whether runs block the event loop; undefined: short ones. */
  readonly blocking: boolean | undefined
}

/**
 * Milliseconds of a short run. Another thread takes 0.1 ms longer: it has to wake up, and so does this one, often on
 * another core.
 */
const shortRun = 4
/** Milliseconds for which short runs may keep the event loop from other work. */
const longestBlock = 8

const callHere: Invoke = (call, ...args) => call(...args)
const callLater: Invoke = (call, ...args) => call.later(...args)

/** Engines of this thread that have not been closed. */
const engines = new Set<CApiEngine>()
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

/** Place of an output of a run: a new tensor on the host or the device, or this host tensor. */
export type OutputTarget = 'host' | 'device' | Tensor

/**
 * onnxruntime with one provider, called through its C API. Calls are executed one at a time in the order they were
 * made. Tensors are positional: inputs as `OrtSession.inputs`, outputs as `OrtSession.outputs`.
 */
export class CApiEngine {
  readonly #ort: Ort
  readonly #invoke: Invoke
  /** Creates new session options for each session: a provider may count the sessions that share options. */
  readonly #options: (hints?: CompileHints) => Handle
  readonly #host: Handle
  readonly #memory: Handle
  readonly #copies: Copies
  readonly #sessions = new Set<OrtSession>()
  readonly #values = new Set<OrtValue>()
  readonly #calls = new SerialQueue()
  readonly #blocking: boolean | undefined
  /** The largest number of elements of feeds for which a run of a session was short; none if the last run was not. */
  readonly #shortRuns = new WeakMap<OrtSession, number>()
  /** When the event loop last did other work. */
  #lastTurn = 0
  /** Whether a call is in native code or about to enter it. */
  #busy = false
  #lost: OnnxIreError | undefined

  /** @throws OnnxIreError `runtime` if the provider cannot start, with the reason; `invalid-option` */
  constructor(ort: Ort, provider: Provider, options: EngineOptions) {
    this.#ort = ort
    this.#blocking = options.blocking
    this.#invoke = options.blocking ? callHere : callLater
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
    this.#options = (hints = {}) => createOptions({ ...options, session: sessionFor(options.session ?? {}, hints) })
    // Reports invalid options immediately.
    this.#options().release()
    engines.add(this)
    freeAtExit(ort)
    this.#host = memoryInfo(ort, cpuMemory)
    this.#memory = memoryInfo(ort, provider.memory)
    this.#copies = new Copies(ort, this.#invoke, () => createOptions({ threads: 1 }), this.#host.address)
  }

  compile(model: Uint8Array, hints: CompileHints = {}): Promise<OrtSession> {
    // A copy: the caller may change its bytes before onnxruntime has read them.
    const bytes = hints.transfer ? model : model.slice()
    return this.#queue('onnxruntime rejected the model', async () => {
      const session = await OrtSession.create(this.#ort, this.#invoke, this.#options(hints), bytes, this.#host.address)
      this.#sessions.add(session)
      return session
    })
  }

  /** Runs a session. Outputs on the host are returned as tensors, outputs on the device as values. */
  run(
    session: OrtSession,
    feeds: readonly (Tensor | OrtValue)[],
    targets: readonly OutputTarget[],
  ): Promise<(Tensor | OrtValue)[]> {
    return this.#queue('onnxruntime could not run the model', async () => {
      const [host, memory] = [this.#host.address, this.#memory.address]
      const places = targets.map((target) => (target === 'host' ? host : target === 'device' ? memory : target))
      const outputs = await this.#runInThread(session, feeds, (invoke) =>
        session.run(invoke, feeds, places, (shared, i) =>
          targets[i] === 'device' ? this.#copies.to(memory, shared) : shared,
        ),
      )
      return outputs.map((value, i) => {
        const target = targets[i]!
        if (target === 'device') return this.#trackOnDevice(value!)
        return target === 'host' ? this.#moveToHost(value!) : target
      })
    })
  }

  upload(tensor: Tensor): Promise<OrtValue> {
    return this.#queue('onnxruntime could not copy to the device', async () =>
      this.#trackOnDevice(await this.#copies.to(this.#memory.address, tensor)),
    )
  }

  download(value: OrtValue): Promise<Tensor> {
    return this.#queue('onnxruntime could not copy from the device', async () =>
      this.#moveToHost(await this.#copies.to(this.#host.address, value)),
    )
  }

  /** Frees a value on the device. */
  free(value: OrtValue): Promise<void> {
    return this.#queue('onnxruntime could not free a tensor', () => {
      value.release()
      this.#values.delete(value)
    })
  }

  release(session: OrtSession): Promise<void> {
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

  /**
   * Runs a session, without the option `blocking` in this thread if the run is expected to be short: one on at least as
   * many elements was. Beside other engines it uses the pool, because their runs can take place at the same time.
   */
  async #runInThread<T>(
    session: OrtSession,
    feeds: readonly (Tensor | OrtValue)[],
    run: (invoke: Invoke) => Promise<T>,
  ): Promise<T> {
    if (this.#blocking !== undefined) return run(this.#invoke)
    const elements = feeds.reduce((sum, { dims }) => sum + sizeOf(dims), 0)
    const known = this.#shortRuns.get(session) ?? -1
    const isShort = elements <= known && engines.size === 1
    if (isShort && performance.now() - this.#lastTurn > longestBlock) {
      await new Promise(setImmediate)
      this.#lastTurn = performance.now()
    }
    const start = performance.now()
    const result = await run(isShort ? callHere : callLater)
    const end = performance.now()
    if (end - start < shortRun) this.#shortRuns.set(session, Math.max(known, elements))
    else this.#shortRuns.delete(session)
    if (!isShort) this.#lastTurn = end
    return result
  }

  #free() {
    // Tensors first: their memory returns to the provider of their session.
    for (const value of this.#values) value.release()
    for (const session of this.#sessions) session.release()
    this.#copies.release()
    for (const handle of [this.#host, this.#memory]) handle.release()
    engines.delete(this)
  }

  #trackOnDevice(value: OrtValue): OrtValue {
    this.#values.add(value)
    return value
  }

  #moveToHost(value: OrtValue): Tensor {
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

/** The session options for one model. */
function sessionFor(options: SessionOptions, { operators, folder }: CompileHints): SessionOptions {
  const { extra, ...own } = operators ? skipNeedlessPasses(options, operators) : options
  if (folder === undefined) return { ...own, extra }
  const session = {
    ...(extra?.['session'] as object | undefined),
    model_external_initializers_file_folder_path: folder,
  }
  return { ...own, extra: { ...extra, session } }
}

/** Creates OrtMemoryInfo with OrtDeviceAllocator and OrtMemTypeDefault: memory that the provider allocates. */
function memoryInfo(ort: Ort, { name, device }: Provider['memory']): Handle {
  const address = readAddress((out) => ort.CreateMemoryInfo(name, 0, device, 0, out))
  return new Handle('memory info', address, ort.ReleaseMemoryInfo)
}

const levels = { disabled: 0, basic: 1, extended: 2, layout: 3, all: 99 }

const modes = { sequential: 0, parallel: 1 }

/** Creates `OrtSessionOptions` from the options of `node`, with the defaults of `node`. Throws `invalid-option`. */
function sessionOptions(ort: Ort, options: NodeOptions & { readonly threads: number }): Handle {
  const session = options.session ?? {}
  const handle = new Handle(
    'session options',
    readAddress((out) => ort.CreateSessionOptions(out)),
    ort.ReleaseSessionOptions,
  )
  const { address } = handle
  ort.SetIntraOpNumThreads(address, options.threads)
  ort.SetSessionGraphOptimizationLevel(
    address,
    choice('graphOptimizationLevel', levels, options.graphOptimizationLevel ?? 'all'),
  )
  ort.SetSessionLogSeverityLevel(address, session.logSeverityLevel ?? 3)
  if (session.enableMemPattern) ort.EnableMemPattern(address)
  else ort.DisableMemPattern(address)
  if (session.enableCpuMemArena ?? true) ort.EnableCpuMemArena(address)
  else ort.DisableCpuMemArena(address)
  if (session.interOpNumThreads !== undefined) ort.SetInterOpNumThreads(address, session.interOpNumThreads)
  if (session.executionMode !== undefined)
    ort.SetSessionExecutionMode(address, choice('executionMode', modes, session.executionMode))
  if (session.logId !== undefined) ort.SetSessionLogId(address, session.logId)
  if (session.logVerbosityLevel !== undefined) ort.SetSessionLogVerbosityLevel(address, session.logVerbosityLevel)
  if (session.optimizedModelFilePath !== undefined)
    ort.SetOptimizedModelFilePath(address, session.optimizedModelFilePath)
  if (session.enableProfiling) ort.EnableProfiling(address, session.profileFilePrefix ?? 'onnxruntime_profile_')
  for (const [name, size] of Object.entries(session.freeDimensionOverrides ?? {}))
    ort.AddFreeDimensionOverrideByName(address, name, size)
  const entries = new Map([
    ['session.force_spinning_stop', '1'],
    // DequantizeLinear and MatMul become MatMulNBits, by default with activations rounded to 8 bits.
    ['session.qdq_matmulnbits_accuracy_level', '0'],
    ...flatten('', session.extra ?? {}),
  ])
  for (const [key, value] of entries) ort.AddSessionConfigEntry(address, key, value)
  return handle
}

function choice<T extends object>(option: string, of: T, given: keyof T & string): T[keyof T] {
  if (Object.hasOwn(of, given)) return of[given]
  const known = Object.keys(of).join(', ')
  throw new OnnxIreError('invalid-option', `${option} must be one of ${known}, got ${given}`)
}

/** Flattens nested entries: `{ session: { a: '1' } }` becomes 'session.a'. */
function flatten(prefix: string, entries: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(entries).flatMap(([key, value]): [string, string][] => {
    if (value === undefined) return []
    if (typeof value === 'object' && value !== null)
      return flatten(`${prefix}${key}.`, value as Record<string, unknown>)
    return [[`${prefix}${key}`, String(value)]]
  })
}

/**
 * Copies tensors between memories with models of one Identity node: onnxruntime's copy functions do not support its
 * built-in CUDA provider, but a run reads from any memory and writes its output to any.
 */
class Copies {
  readonly #ort: Ort
  readonly #invoke: Invoke
  readonly #options: () => Handle
  readonly #hostMemory: bigint
  readonly #sessions = new Map<DType, OrtSession>()

  constructor(ort: Ort, invoke: Invoke, options: () => Handle, hostMemory: bigint) {
    this.#ort = ort
    this.#invoke = invoke
    this.#options = options
    this.#hostMemory = hostMemory
  }

  /** Copies `source` to the memory `memory`. Throws `OrtFailure`. */
  async to(memory: bigint, source: Tensor | OrtValue): Promise<OrtValue> {
    const session = await this.#session(source.dtype)
    const [copy] = await session.run(this.#invoke, [source], [memory])
    return copy!
  }

  async #session(dtype: DType): Promise<OrtSession> {
    const known = this.#sessions.get(dtype)
    if (known) return known
    const session = await OrtSession.create(
      this.#ort,
      this.#invoke,
      this.#options(),
      identityModel(dtype),
      this.#hostMemory,
    )
    this.#sessions.set(dtype, session)
    return session
  }

  release(): void {
    for (const session of this.#sessions.values()) session.release()
    this.#sessions.clear()
  }
}
