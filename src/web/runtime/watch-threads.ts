import { OnnxIreError } from '../../util/errors.js'

/** Name that Emscripten gives the workers of its threads. */
const threadName = 'em-pthread'

/**
 * Calls `start` and rejects if a thread that it creates cannot load its file. onnxruntime itself then waits without
 * end: it listens to its threads only after its WebAssembly is compiled, and the event has passed by then.
 * @param provider name in the message
 * @throws OnnxIreError `runtime` with the reason
 */
export async function watchThreads<T>(provider: string, start: () => Promise<T>): Promise<T> {
  const PlainWorker = globalThis.Worker
  let fail: (error: unknown) => void
  const failed = new Promise<never>((_, reject) => {
    fail = reject
  })
  globalThis.Worker = class extends PlainWorker {
    constructor(address: string | URL, options?: WorkerOptions) {
      super(address, options)
      if (options?.name !== threadName) return
      this.addEventListener('error', ({ message }) => void threadError(provider, String(address), message).then(fail))
    }
  }
  try {
    return await Promise.race([start(), failed])
  } finally {
    globalThis.Worker = PlainWorker
  }
}

/** Error of a thread. The event of a file that cannot be loaded has no message. */
async function threadError(provider: string, address: string, message: string | undefined): Promise<OnnxIreError> {
  const reason = message || `they cannot load ${address}${await refusalOf(address)}`
  return new OnnxIreError(
    'runtime',
    `onnxruntime's ${provider} does not start its threads: ${reason}; or use one thread (threads: 1). onnxruntime does not start again in this page or worker: reload the page or create another worker`,
  )
}

/** Why the browser refuses the file of a worker, as far as a request for the file shows it. */
async function refusalOf(address: string): Promise<string> {
  const response = await fetch(address).catch(() => undefined)
  const isolates = address.startsWith('blob:') || response?.headers.has('Cross-Origin-Embedder-Policy')
  return response?.ok && !isolates
    ? ': the server sends the page with the header Cross-Origin-Embedder-Policy, but not this file; send the header with every file'
    : '; check that the server sends it as text/javascript, and that a Content-Security-Policy allows it as worker-src'
}
