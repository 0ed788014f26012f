import { OnnxIreError, type Runtime } from 'onnx-ire'
import { wasm, webgpu } from 'onnx-ire/web'
import type { WorkerEvent } from '../protocol.js'
import type { ProviderChoice } from './choose-provider.js'

/**
 * Creates runtimes of one kind: WebGPU, each with a separate device, or WebAssembly, also if WebGPU cannot start.
 * Reports the kind once.
 */
export function createRuntimeFactory(
  { provider, reason }: ProviderChoice,
  tell: (event: WorkerEvent) => void,
): () => Promise<Runtime> {
  let chosen = provider
  let isReported = false
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
    if (!isReported) tell({ kind: 'runtime', provider: chosen, description: runtime.description, reason, fallback })
    isReported = true
    return runtime
  }
}
