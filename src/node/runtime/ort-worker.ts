import { parentPort, type TransferListItem, workerData } from 'node:worker_threads'
import type { InferenceSession } from 'onnxruntime-node'
import { OnnxIreError } from '../../util/errors.js'
import { ExitGuard } from './exit-guard.js'
import { LocalEngine } from './local-engine.js'
import { ThreadLock } from './thread-lock.js'
import type { Failure, Reply, Request } from './worker-engine.js'

/** Data that the worker thread is started with. */
export interface WorkerData {
  readonly options: InferenceSession.SessionOptions
  readonly guardCells: Int32Array<SharedArrayBuffer>
  /** Cell of the lock that the provider needs, if any. */
  readonly lockCell?: Int32Array<SharedArrayBuffer>
}

/** Worker side of `WorkerEngine`: a `LocalEngine` that is called by messages. */
const { options, guardCells, lockCell } = workerData as WorkerData
const exitGuard = new ExitGuard(guardCells)
const lock = lockCell && new ThreadLock(lockCell)
const engine = new LocalEngine(options, (work) => (lock ? lock.run(() => exitGuard.run(work)) : exitGuard.run(work)))
const port = parentPort!

port.on('message', async (request: Request) => {
  let reply: Reply
  let transfer: TransferListItem[] = []
  try {
    const value = await handleRequest(request)
    // Every output of onnxruntime-node has its own ArrayBuffer.
    if (Array.isArray(value))
      transfer = value.flatMap((output) =>
        'data' in output && 'buffer' in output.data ? [output.data.buffer as ArrayBuffer] : [],
      )
    reply = { call: request.call, value }
  } catch (error) {
    reply = { call: request.call, failure: failureOf(error) }
  }
  port.postMessage(reply, transfer)
})
port.on('messageerror', (error) => {
  throw error
})

async function handleRequest(request: Request) {
  switch (request.kind) {
    case 'compile':
      return engine.compile(request.model, request.how)
    case 'run':
      return engine.run(request.id, request.inputs)
    case 'release':
      await engine.release(request.id)
      return undefined
    case 'free':
      await engine.free(request.handle)
      return undefined
    case 'close':
      await engine.close()
      return undefined
  }
}

/** Converts an error for the caller's thread: structured cloning preserves message and cause but not the class. */
function failureOf(error: unknown): Failure {
  if (error instanceof OnnxIreError) return { code: error.code, message: error.message, cause: error.cause }
  return { code: 'runtime', message: `onnxruntime's thread failed: ${error}`, cause: error }
}
