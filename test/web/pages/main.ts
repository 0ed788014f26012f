import { type Answer, answer, type Call } from './call.js'

declare global {
  /** The page's worker, from the first call in it. */
  var worker: Worker | undefined
}
let last = 0

/** In a worker, which is what the library recommends. */
function inWorker(call: Call): Promise<Answer> {
  globalThis.worker ??= new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' })
  const own = globalThis.worker
  const id = ++last
  return new Promise((resolve) => {
    const listen = ({ data }: MessageEvent) => {
      if (data.id !== id) return
      own.removeEventListener('message', listen)
      resolve(data.answer)
    }
    own.addEventListener('message', listen)
    own.addEventListener('error', (event) => resolve({ error: { message: `worker: ${event.message}` } }), {
      once: true,
    })
    own.postMessage({ id, call })
  })
}

Object.assign(globalThis, { inPage: answer, inWorker, ready: true })
