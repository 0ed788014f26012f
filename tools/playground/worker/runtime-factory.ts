import { OnnxIreError, type Runtime } from 'onnx-ire'
import { wasm, webgpu } from 'onnx-ire/web'
import type { Settings, WorkerEvent } from '../protocol.js'

/**
 * Creates runtimes of one kind: WebGPU, each with a separate device, or WebAssembly if WebGPU cannot start. Reports the
 * kind once.
 */
export function createRuntimeFactory(
  { provider, layers }: Pick<Settings, 'provider' | 'layers'>,
  tell: (event: WorkerEvent) => void,
): () => Promise<Runtime> {
  let chosen: 'webgpu' | 'wasm' | undefined = provider === 'auto' ? undefined : provider
  let isReported = false
  let fallback: string | null = null
  return async () => {
    chosen ??= layers === 'all' && (await hasGraphicsCard()) ? 'webgpu' : 'wasm'
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

/** Whether WebGPU runs on a graphics card; one that is emulated by the processor is slower than WebAssembly. */
async function hasGraphicsCard(): Promise<boolean> {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null)
  return !!adapter && !adapter.info.isFallbackAdapter && adapter.info.architecture !== 'swiftshader'
}
