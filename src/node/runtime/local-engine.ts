import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { dtypes, type TypedArray } from '../../ir/dtype.js'
import { isStrings, type Tensor } from '../../ir/tensor.js'
import { skipNeedlessPasses } from '../../runtime/graph-passes.js'
import { fromOrtTensor, inputsOf } from '../../runtime/ort.js'
import { bytesOf } from '../../util/bytes.js'
import { SerialQueue } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { CompileOptions, Engine, Session, SessionTensor, TensorHandle } from './engine.js'
import { requirePackage } from './packages.js'

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
  readonly #buffers = new InputBuffers()
  readonly #deviceTensors = new TensorTable()
  /** Sessions that were released but still own device tensors. */
  readonly #released = new Set<number>()
  readonly #calls = new SerialQueue()
  #lastId = 0

  /** @param guard wraps each call into onnxruntime */
  constructor(options: InferenceSession.SessionOptions, guard: Guard = (work) => work()) {
    this.#options = options
    this.#guard = guard
  }

  compile(model: Uint8Array, options: CompileOptions = {}): Promise<Session> {
    return this.#queue(async () => {
      const ort = load()
      const session = await create(ort, model, sessionOptionsFor(this.#options, options))
      const inputs = inputsOf(session)
      const id = ++this.#lastId
      this.#sessions.set(id, { ort, session })
      return { id, inputs, outputNames: [...session.outputNames] }
    })
  }

  run(id: number, inputs: readonly SessionTensor[]): Promise<SessionTensor[]> {
    return this.#queue(async () => {
      const { ort, session } = this.#sessions.get(id)!
      const feeds = inputs.map((input, i) => {
        const name = session.inputNames[i]!
        return [
          name,
          'handle' in input ? this.#deviceTensors.get(input.handle) : this.#buffers.feed(ort, name, input),
        ] as const
      })
      const results = await session.run(Object.fromEntries(feeds)).catch((error: Error) => {
        throw (
          webgpuFailure(error) ??
          new OnnxIreError('runtime', `onnxruntime could not run the model: ${error.message}${realmHint(error)}`, {
            cause: error,
          })
        )
      })
      return session.outputNames.map((name) => {
        const tensor = getOwn(results, name) as OrtTensor
        return tensor.location === 'gpu-buffer' ? this.#deviceTensors.add(tensor, id) : fromOrtTensor(tensor)
      })
    })
  }

  release(id: number): Promise<void> {
    return this.#queue(async () => {
      this.#released.add(id)
      await this.#endIfUnused(id)
    })
  }

  free(handle: number): Promise<void> {
    return this.#queue(async () => {
      const id = this.#deviceTensors.free(handle)
      if (id !== undefined) await this.#endIfUnused(id)
    })
  }

  close(): Promise<void> {
    return this.#queue(async () => {
      // Tensors first: using one after the last session was released ends the process.
      this.#deviceTensors.clear()
      for (const { session } of this.#sessions.values()) await session.release()
      this.#sessions.clear()
      this.#trimBuffers()
    })
  }

  /** Ends a released session once its last device tensor is freed: freeing one later would end the process. */
  async #endIfUnused(id: number): Promise<void> {
    if (!this.#released.has(id) || this.#deviceTensors.hasTensorsOf(id)) return
    await this.#sessions.get(id)?.session.release()
    this.#released.delete(id)
    this.#sessions.delete(id)
    this.#trimBuffers()
  }

  /** Frees the buffers of input names that no session uses. */
  #trimBuffers(): void {
    this.#buffers.keepOnly(new Set([...this.#sessions.values()].flatMap(({ session }) => session.inputNames)))
  }

  /** Runs calls one at a time: an input buffer belongs to one run until that run ends. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    return this.#calls.run(() => this.#guard(work))
  }
}

/** Loads onnxruntime-node on first use: environment variables must be set before. */
function load(): Ort {
  const ort = requirePackage<Ort>('onnxruntime-node', 'node()')
  ort.env.logLevel = 'error'
  return ort
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

function sessionOptionsFor(
  options: InferenceSession.SessionOptions,
  { keepOnDevice = [], allowCpu = false, operators, folder }: CompileOptions,
) {
  const own = operators ? skipNeedlessPasses(options, operators) : options
  const { session, ...extra } = (own.extra ?? {}) as Readonly<Record<string, object>>
  return {
    ...own,
    ...(keepOnDevice.length > 0
      ? { preferredOutputLocation: Object.fromEntries(keepOnDevice.map((name) => [name, 'gpu-buffer' as const])) }
      : {}),
    extra: {
      ...extra,
      session: {
        ...session,
        ...(allowCpu && { disable_cpu_ep_fallback: '0' }),
        ...(folder !== undefined && { model_external_initializers_file_folder_path: folder }),
      },
    },
  }
}

/** Advice for a realm that is not that of onnxruntime's native code, as in tests under Jest. */
const realmHint = ({ message }: Error): string =>
  message.includes('must be type of function')
    ? '. Here globals are not those of Node, as in tests under Jest: use node({ worker: true })'
    : ''

const notStarted = /WebGpuContext::Initialize|Failed to get a WebGPU/

const lost = /device (?:is|was|has been) lost|DeviceLost|device lost/i

/**
 * Error for a message of onnxruntime's WebGPU provider about a missing or lost device; undefined for other messages.
 */
function webgpuFailure(cause: Error): OnnxIreError | undefined {
  const { message } = cause
  if (notStarted.test(message)) {
    const reason = message.replace(/^.* was false\. /s, '').trim()
    const hint =
      'it needs a GPU (or a software GPU) and its driver: Vulkan on Linux, Direct3D 12 on Windows, Metal on macOS'
    return new OnnxIreError('runtime', `WebGPU does not start: ${reason.replace(/\.$/, '')}; ${hint}`, { cause })
  }
  if (lost.test(message)) return new OnnxIreError('device-lost', `the WebGPU device is lost: ${message}`, { cause })
  return undefined
}

/**
 * Table of device tensors by handle. Rejects the use of a freed tensor, which would end the process inside onnxruntime.
 */
class TensorTable {
  readonly #tensors = new Map<number, { readonly tensor: OrtTensor; readonly session: number }>()
  #last = 0

  /** @param session session that created the tensor and owns its memory */
  add(tensor: OrtTensor, session: number): TensorHandle {
    const handle = ++this.#last
    this.#tensors.set(handle, { tensor, session })
    return { handle, dtype: tensor.type, dims: [...tensor.dims] }
  }

  get(handle: number): OrtTensor {
    const entry = this.#tensors.get(handle)
    if (!entry) throw new OnnxIreError('runtime', 'this device tensor was released')
    return entry.tensor
  }

  /** Frees a tensor and returns its session; undefined if it was freed before. */
  free(handle: number): number | undefined {
    const entry = this.#tensors.get(handle)
    entry?.tensor.dispose()
    this.#tensors.delete(handle)
    return entry?.session
  }

  /** Whether a session has tensors in the table. */
  hasTensorsOf(session: number): boolean {
    return [...this.#tensors.values()].some((entry) => entry.session === session)
  }

  clear(): void {
    for (const handle of [...this.#tensors.keys()]) this.free(handle)
  }
}

/**
 * Reusable buffers for inputs in shared memory. onnxruntime rejects arrays over a SharedArrayBuffer, so such inputs are
 * copied to a buffer that outlives the run: one memcpy and no allocation. An engine runs one program at a time, so all
 * its programs share one buffer per input name: training, curvature and evaluation graph have the same parameters.
 */
export class InputBuffers {
  readonly #buffers = new Map<string, ArrayBuffer>()

  /**
   * Creates the tensor of an input, over its own array or over a copy that is valid until the same name is fed again.
   */
  feed(ort: typeof import('onnxruntime-node'), name: string, { dtype, dims, data }: Tensor): OrtTensor {
    const own = isStrings(data) ? data : this.#unshared(name, dtypes[dtype].array!, data)
    // The constructor's overloads bind each dtype to its array type; checkFeeds has compared them.
    return new ort.Tensor(dtype as 'float32', own as Float32Array, dims)
  }

  /** Frees the buffers of all other input names. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#buffers.keys()) if (!names.has(name)) this.#buffers.delete(name)
  }

  #unshared(name: string, array: NonNullable<(typeof dtypes)['float32']['array']>, data: TypedArray): TypedArray {
    if (!(data.buffer instanceof SharedArrayBuffer)) return data
    let buffer = this.#buffers.get(name)
    if (buffer === undefined || buffer.byteLength < data.byteLength) {
      buffer = new ArrayBuffer(data.byteLength)
      this.#buffers.set(name, buffer)
    }
    new Uint8Array(buffer).set(bytesOf(data))
    return new array(buffer, 0, data.length)
  }
}
