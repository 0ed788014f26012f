import { needed } from '../needed.js'
import type { Device } from '../runtime/device.js'
import { insteadOf } from '../runtime/fallback.js'
import type { Runtime } from '../runtime/runtime.js'
import { checkNames, invalidOption } from '../util/check.js'
import type { OnnxIreError } from '../util/errors.js'
import type { WasmSettings } from './ort.js'

/** Options of `webgpu`; every one may be left out. */
export interface WebGpuOptions extends WasmSettings {
  /** Which GPU to ask for where there are several. Default: the browser's choice. */
  readonly powerPreference?: 'low-power' | 'high-performance' | undefined
  /** How far onnxruntime rewrites the graph. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
  /**
   * What becomes of nodes that the GPU has no kernel for: 'allowed' (default) runs them on the processor, which takes copies
   * there and back; 'refused' makes `compile` throw.
   */
  readonly cpuNodes?: 'allowed' | 'refused' | undefined
  /** What is to run instead where WebGPU cannot start, such as `wasm`. Default: nothing, it is an error. */
  readonly fallback?: (() => Runtime | Promise<Runtime>) | undefined
}

/** A runtime on a WebGPU device of its own. */
export interface WebGpuRuntime extends Runtime {
  readonly device: Device & Required<Pick<Device, 'renew'>>
  /** The device it runs on, made with all limits and features of its adapter; another one after `device.renew()`. */
  readonly gpu: GPUDevice
  /** Resolves when that device is lost, with the error that all that is asked of it then fails with. */
  readonly lost: Promise<OnnxIreError>
}

const optionNames = ['wasmPaths', 'threads', 'powerPreference', 'graphOptimizationLevel', 'cpuNodes', 'fallback']

/**
 * onnxruntime-web's WebGPU provider, on a device of our own. When that is lost all that is pending, and all that is asked
 * of it later, fails with `device-lost`, until `device.renew()` has made another one.
 *
 * Throws `invalid-option`, and `runtime` saying why it cannot start. With a `fallback` that runs instead, and its
 * `description` says so.
 */
export function webgpu(options?: Omit<WebGpuOptions, 'fallback'>): Promise<WebGpuRuntime>
export function webgpu(options: WebGpuOptions): Promise<Runtime>
export async function webgpu(options: WebGpuOptions = {}): Promise<Runtime> {
  checkNames('webgpu', options, optionNames)
  const { cpuNodes = 'allowed' } = options
  if (cpuNodes !== 'allowed' && cpuNodes !== 'refused')
    throw invalidOption('webgpu', 'cpuNodes', cpuNodes, "'allowed' or 'refused'")
  try {
    // What only WebGPU needs is loaded when it is asked for.
    const { startWebGpu } = await needed(import('./webgpu-runtime.js'))
    return await startWebGpu(options)
  } catch (cause) {
    return insteadOf(cause, options.fallback)
  }
}
