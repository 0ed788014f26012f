import type { TransferListItem, Worker } from 'node:worker_threads'
import { dtypes } from '../../ir/dtype.js'
import { bytesOf } from '../../util/bytes.js'
import { type ErrorCode, OnnxIreError } from '../../util/errors.js'
import type { CompileOptions, Engine, Session, SessionTensor } from './engine.js'
import { ExitGuard } from './exit-guard.js'

/** A call to the worker. */
type Work =
  | { readonly kind: 'compile'; readonly model: Uint8Array; readonly how: CompileOptions }
  | { readonly kind: 'run'; readonly id: number; readonly inputs: readonly SessionTensor[] }
  | { readonly kind: 'release'; readonly id: number }
  | { readonly kind: 'free'; readonly handle: number }
  | { readonly kind: 'close' }

/** A call with its number. */
export type Request = Work & { readonly call: number }

/** An error in a form that structured cloning preserves. */
export interface Failure {
  readonly code: ErrorCode
  readonly message: string
  readonly cause: unknown
}

/** Result of a call, or its failure. */
export type Reply =
  | { readonly call: number; readonly value: Session | SessionTensor[] | undefined }
  | { readonly call: number; readonly failure: Failure }

/** Milliseconds that an exiting process waits for the current run. */
const exitTimeout = 60_000

interface Pending {
  resolve(value: unknown): void
  reject(error: OnnxIreError): void
}

/**
 * onnxruntime in a worker thread, so that a run does not block the caller's event loop. The thread starts with the
 * first call and keeps the process alive only while a call is pending. If it ends unexpectedly, every pending and later
 * call is rejected with `runtime`.
 */
export class WorkerEngine implements Engine {
  readonly #start: (guard: ExitGuard) => Worker
  readonly #pending = new Map<number, Pending>()
  #worker: Worker | undefined
  #failure: OnnxIreError | undefined
  #lastCall = 0

  constructor(start: (guard: ExitGuard) => Worker) {
    this.#start = start
  }

  compile(model: Uint8Array, how: CompileOptions = {}): Promise<Session> {
    const { buffer, byteLength } = model
    const whole = buffer instanceof ArrayBuffer && buffer.byteLength === byteLength
    const bytes = how.transfer && whole ? buffer : copyBytes(model)
    return this.#call({ kind: 'compile', model: new Uint8Array(bytes), how }, [bytes])
  }

  async run(id: number, inputs: readonly SessionTensor[]): Promise<SessionTensor[]> {
    const transfer: ArrayBuffer[] = []
    const sent = inputs.map((input) => {
      if ('handle' in input) return input
      const { dtype, dims, data } = input
      const { array } = dtypes[dtype]
      if (array === null || !('buffer' in data) || data.buffer instanceof SharedArrayBuffer) return input
      const bytes = copyBytes(data)
      transfer.push(bytes)
      return { dtype, dims, data: new array(bytes, 0, data.length) }
    })
    const outputs = await this.#call<SessionTensor[]>({ kind: 'run', id, inputs: sent }, transfer)
    return outputs.map(inThisRealm)
  }

  release(id: number): Promise<void> {
    return this.#call({ kind: 'release', id }, [])
  }

  free(handle: number): Promise<void> {
    return this.#call({ kind: 'free', handle }, [])
  }

  async close(): Promise<void> {
    if (this.#worker === undefined || this.#failure !== undefined) return
    await this.#call({ kind: 'close' }, [])
    // No native code is running now, so nothing is interrupted.
    await this.#worker.terminate()
  }

  #call<T>(work: Work, transfer: TransferListItem[]): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) throw this.#failure
      this.#worker ??= this.#launch()
      const request: Request = { ...work, call: ++this.#lastCall }
      this.#worker.postMessage(request, transfer)
      if (this.#pending.size === 0) this.#worker.ref()
      // The value of a reply has the type that the calling method declares.
      this.#pending.set(request.call, { resolve: resolve as (value: unknown) => void, reject })
    })
  }

  #launch(): Worker {
    const guard = new ExitGuard()
    const worker = this.#start(guard)
    const onProcessExit = () => guard.close(exitTimeout)
    process.on('exit', onProcessExit)
    worker.on('exit', () => process.off('exit', onProcessExit))
    worker.on('message', (reply: Reply) => this.#settle(worker, reply))
    worker.on('messageerror', (error) => this.#die('sent an unreadable message', error))
    worker.on('error', (error) => this.#die(`failed: ${error.message}`, error))
    worker.on('exit', (code) => this.#die(`stopped with exit code ${code}`))
    worker.unref()
    return worker
  }

  #settle(worker: Worker, reply: Reply) {
    const call = this.#pending.get(reply.call)
    if (call === undefined) return
    this.#pending.delete(reply.call)
    if (this.#pending.size === 0) worker.unref()
    if ('value' in reply) return call.resolve(reply.value)
    const { code, message, cause } = reply.failure
    call.reject(new OnnxIreError(code, message, { cause }))
  }

  #die(how: string, cause?: unknown) {
    const text = `onnxruntime's worker thread ${how}; its programs are lost; create a new runtime`
    this.#failure ??= new OnnxIreError('runtime', text, { cause })
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
    this.#worker?.unref()
  }
}

/** A received tensor with an array of this realm, which is not that of messages in tests under Jest. */
function inThisRealm(tensor: SessionTensor): SessionTensor {
  if ('handle' in tensor) return tensor
  const { dtype, dims, data } = tensor
  const { array } = dtypes[dtype]
  if (array === null || !('buffer' in data)) return tensor
  return { dtype, dims, data: new array(data.buffer, data.byteOffset, data.length) }
}

/**
 * Copies exactly the viewed bytes, so that they can be transferred: structured cloning would copy twice and send the
 * whole underlying buffer.
 */
function copyBytes(view: ArrayBufferView): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = view
  if (buffer instanceof ArrayBuffer) return buffer.slice(byteOffset, byteOffset + byteLength)
  const copy = new ArrayBuffer(byteLength)
  new Uint8Array(copy).set(bytesOf(view))
  return copy
}
