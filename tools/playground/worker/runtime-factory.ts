import { OnnxIreError, type Runtime } from 'onnx-ire'
import { wasm, webgpu } from 'onnx-ire/web'
import type { Settings, WorkerEvent } from '../protocol.js'

/**
 * Creates runtimes of one kind: WebGPU, each with a separate device, or WebAssembly if WebGPU cannot start. Reports the
 * kind once.
 */
export function createRuntimeFactory(
  provider: Settings['provider'],
  tell: (event: WorkerEvent) => void,
): () => Promise<Runtime> {
  let [chosen, isReported] = [provider, false]
  let fallback: string | null = null
  return async () => {
    let runtime: Runtime | undefined
    if (chosen === 'webgpu')
      runtime = await webgpu().catch((error) => {
        if (!(error instanceof OnnxIreError) || error.code !== 'runtime') throw error
        chosen = 'wasm'
        fallback = error.message
        return undefined
      })
    runtime ??= await wasm()
    if (!isReported) tell({ kind: 'runtime', description: runtime.description, fallback })
    isReported = true
    return runtime
  }
}
