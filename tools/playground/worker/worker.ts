import { OnnxIreError } from 'onnx-ire'
import type { Calls, Reply, Request, WorkerEvent } from '../protocol.js'
import { Session } from './session.js'

const say = (message: Reply) => postMessage(message)
const session: Calls = new Session((event: WorkerEvent) => say(event))

addEventListener('message', async ({ data: { id, call, args } }: MessageEvent<Request>) => {
  try {
    const method = session[call] as (...args: readonly unknown[]) => Promise<unknown>
    say({ id, value: await method.apply(session, args as unknown[]) })
  } catch (error) {
    say({ id, error: described(error) })
  }
})

/** Memory runs out in onnxruntime's WebAssembly, in the browser's arrays or on the GPU: each says it in its own words. */
function described(error: unknown): { code: string; message: string } {
  const message = error instanceof Error ? error.message : String(error)
  if (
    /out of memory|memory access out of bounds|array buffer allocation failed|invalid array length|bad_alloc/i.test(
      message,
    )
  )
    return {
      code: 'out-of-memory',
      message: `The memory is full: take a smaller batch, smaller images or a smaller model. (${message})`,
    }
  return { code: error instanceof OnnxIreError ? error.code : 'unexpected', message }
}
