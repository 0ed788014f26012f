import { type Runtime, withFallback } from '../../runtime/runtime.js'
import { checkNames, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import type { WebGpuOptions, WebGpuRuntime } from './webgpu-options.js'

const optionNames = [
  'wasmPaths',
  'threads',
  'powerPreference',
  'graphOptimizationLevel',
  'cpuNodes',
  'gradients',
  'fallback',
]

/**
 * Creates a runtime with onnxruntime-web's WebGPU provider. If its GPU device is lost, pending and later calls fail
 * with `device-lost` until `device.recover()` has replaced it.
 * @throws OnnxIreError `invalid-option`, and `runtime` if it cannot start, with the reason. With a `fallback` that
 * runtime is returned instead, and its `description` contains the reason.
 * @example
 * const runtime = await webgpu({ fallback: wasm })
 */
export function webgpu(options?: Omit<WebGpuOptions, 'fallback'>): Promise<WebGpuRuntime>
export function webgpu(options: WebGpuOptions): Promise<Runtime & AsyncDisposable>
export async function webgpu(options: WebGpuOptions = {}): Promise<Runtime & AsyncDisposable> {
  checkNames('webgpu', options, optionNames)
  const { powerPreference, cpuNodes = 'allowed', gradients = 'shaders' } = options
  if (powerPreference !== undefined && powerPreference !== 'low-power' && powerPreference !== 'high-performance')
    throw invalidOption('webgpu', 'powerPreference', powerPreference, "'low-power' or 'high-performance'")
  if (cpuNodes !== 'allowed' && cpuNodes !== 'forbidden')
    throw invalidOption('webgpu', 'cpuNodes', cpuNodes, "'allowed' or 'forbidden'")
  if (gradients !== 'onnxruntime' && gradients !== 'shaders')
    throw invalidOption('webgpu', 'gradients', gradients, "'onnxruntime' or 'shaders'")
  try {
    const { startWebGpu } = await import('./start-webgpu.js').catch((cause) => {
      throw new OnnxIreError('runtime', `WebGPU cannot start: ${(cause as Error).message}`, { cause })
    })
    return await startWebGpu(options)
  } catch (cause) {
    const { fallback, wasmPaths } = options
    // A folder has the files of every build.
    const settings = typeof wasmPaths === 'string' ? { wasmPaths } : {}
    return withFallback(cause, fallback && (() => fallback(settings)))
  }
}
