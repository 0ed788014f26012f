import { createBlobModuleUrl } from '../blob-module-url.js'
import type { Calls, KeepingEvent, Reply, Request, WorkerEvent } from '../protocol.js'
import training from '../worker/worker.ts?worker&url'

/** An error of the worker, with a message for the user. */
export class Failure extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** Calls to the training worker, and its events. */
export function startWorker(
  onEvent: (event: WorkerEvent | KeepingEvent) => void,
  onCrash: (message: string) => void,
): Calls {
  const worker = new Worker(createBlobModuleUrl(training), { type: 'module', name: 'training' })
  const open = new Map<number, { resolve(value: unknown): void; reject(error: Failure): void }>()
  let last = 0
  worker.onmessage = ({ data }: MessageEvent<Reply>) => {
    if ('kind' in data) return onEvent(data)
    const call = open.get(data.id)
    open.delete(data.id)
    if ('error' in data) call?.reject(new Failure(data.error.code, data.error.message))
    else call?.resolve(data.value)
  }
  worker.onerror = (event) => {
    event.preventDefault()
    const message = `The training worker stopped: ${event.message || 'it could not be loaded'}. Reload the page.`
    for (const { reject } of open.values()) reject(new Failure('unexpected', message))
    open.clear()
    onCrash(message)
  }
  return new Proxy({} as Calls, {
    get:
      (_, call: keyof Calls) =>
      (...args: readonly unknown[]) =>
        new Promise((resolve, reject) => {
          const request: Request = { id: ++last, call, args }
          open.set(request.id, { resolve, reject })
          worker.postMessage(request)
        }),
  })
}
