import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import type { DType } from '../ir/dtype.js'
import { fromOrt } from '../runtime/from-ort.js'
import { OnnxIreError } from '../util/errors.js'
import type { Compilation, Engine, Operand, Session } from './engine.js'
import { KeptTensors } from './kept-tensors.js'
import { PrivateBuffers } from './private-buffers.js'
import { webgpuFailure } from './webgpu-failure.js'

type Ort = typeof import('onnxruntime-node')

type Guard = <T>(work: () => Promise<T>) => Promise<T>

interface Loaded {
  readonly ort: Ort
  readonly session: InferenceSession
}

/** onnxruntime in the calling thread, which blocks while a model runs. */
export class LocalEngine implements Engine {
  readonly #options: InferenceSession.SessionOptions
  readonly #guard: Guard
  readonly #sessions = new Map<number, Loaded>()
  readonly #buffers = new PrivateBuffers()
  readonly #kept = new KeptTensors()
  /** Sessions that were released but still own device tensors. */
  readonly #leaving = new Set<number>()
  #tail: Promise<void> = Promise.resolve()
  #lastId = 0

  /** @param guard wraps each call into onnxruntime */
  constructor(options: InferenceSession.SessionOptions, guard: Guard = (work) => work()) {
    this.#options = options
    this.#guard = guard
  }

  compile(model: Uint8Array, how: Compilation = {}): Promise<Session> {
    return this.#queue(async () => {
      const ort = await load()
      const session = await create(ort, model, compiledAs(this.#options, how))
      const inputs = session.inputMetadata.map((input) => {
        if (input.isTensor) return { name: input.name, dtype: input.type as DType }
        throw new OnnxIreError(
          'runtime',
          `input '${input.name}' is not a tensor: sequences and maps are not supported as inputs`,
        )
      })
      const id = ++this.#lastId
      this.#sessions.set(id, { ort, session })
      return { id, inputs, outputNames: [...session.outputNames] }
    })
  }

  run(id: number, inputs: readonly Operand[]): Promise<Operand[]> {
    return this.#queue(async () => {
      const { ort, session } = this.#sessions.get(id)!
      const feeds = inputs.map((input, i) => {
        const name = session.inputNames[i]!
        return [name, 'handle' in input ? this.#kept.get(input.handle) : this.#buffers.feed(ort, name, input)] as const
      })
      const results = await session.run(Object.fromEntries(feeds)).catch((error: Error) => {
        throw (
          webgpuFailure(error) ??
          new OnnxIreError('runtime', `onnxruntime could not run the model: ${error.message}`, { cause: error })
        )
      })
      return session.outputNames.map((name) => {
        const tensor = results[name] as OrtTensor
        return tensor.location === 'gpu-buffer' ? this.#kept.add(tensor, id) : fromOrt(tensor)
      })
    })
  }

  release(id: number): Promise<void> {
    return this.#queue(async () => {
      this.#leaving.add(id)
      await this.#endOnceFree(id)
    })
  }

  free(handle: number): Promise<void> {
    return this.#queue(async () => {
      const id = this.#kept.free(handle)
      if (id !== undefined) await this.#endOnceFree(id)
    })
  }

  close(): Promise<void> {
    return this.#queue(async () => {
      // Tensors first: using one after the last session was released ends the process.
      this.#kept.clear()
      for (const { session } of this.#sessions.values()) await session.release()
      this.#sessions.clear()
      this.#keepBuffers()
    })
  }

  /** Ends a released session once its last device tensor is freed: freeing one later would end the process. */
  async #endOnceFree(id: number): Promise<void> {
    if (!this.#leaving.has(id) || this.#kept.anyOf(id)) return
    await this.#sessions.get(id)?.session.release()
    this.#leaving.delete(id)
    this.#sessions.delete(id)
    this.#keepBuffers()
  }

  /** Frees the buffers of inputs that no program has. */
  #keepBuffers(): void {
    this.#buffers.keepOnly(new Set([...this.#sessions.values()].flatMap(({ session }) => session.inputNames)))
  }

  /** Runs calls one at a time: an input buffer belongs to one run until that run ends. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(() => this.#guard(work))
    this.#tail = result.then(
      () => {},
      () => {},
    )
    return result
  }
}

/** Imports onnxruntime-node on first use: environment variables must be set before the library loads. */
async function load(): Promise<Ort> {
  try {
    const ort = await import('onnxruntime-node')
    ort.env.logLevel = 'error'
    return ort
  } catch (cause) {
    const text = `onnxruntime-node does not load on ${process.platform} ${process.arch}: ${(cause as Error).message}`
    throw new OnnxIreError('runtime', text, { cause })
  }
}

async function create(ort: Ort, model: Uint8Array, options: InferenceSession.SessionOptions) {
  const shared = model.buffer instanceof SharedArrayBuffer
  try {
    // onnxruntime rejects shared memory.
    return await ort.InferenceSession.create(shared ? new Uint8Array(model) : model, options)
  } catch (cause) {
    const { message } = cause as Error
    const failure = webgpuFailure(cause as Error)
    if (failure) throw failure
    const hint = message.startsWith('Unsupported data type')
      ? '. Graph inputs and outputs of this ONNX type cannot cross into JavaScript (16 is bfloat16): cast them to float32 in the graph'
      : ''
    throw new OnnxIreError('runtime', `onnxruntime rejected the model: ${message}${hint}`, { cause })
  }
}

function compiledAs(options: InferenceSession.SessionOptions, { keeps = [], anywhere = false }: Compilation) {
  const { session, ...extra } = (options.extra ?? {}) as Readonly<Record<string, object>>
  return {
    ...options,
    ...(keeps.length > 0
      ? { preferredOutputLocation: Object.fromEntries(keeps.map((name) => [name, 'gpu-buffer' as const])) }
      : {}),
    ...(anywhere ? { extra: { ...extra, session: { ...session, disable_cpu_ep_fallback: '0' } } } : {}),
  }
}
