import type { TrainingDevice } from '../backend/backend.js'
import type { Device } from '../runtime/device.js'
import { insteadOf } from '../runtime/fallback.js'
import type { Runtime } from '../runtime/runtime.js'
import { checkNames, invalidOption } from '../util/check.js'
import type { OnnxIreError } from '../util/errors.js'
import type { WasmSettings } from './ort.js'

/** Options of `webgpu`. */
export interface WebGpuOptions extends WasmSettings {
  /** Preferred GPU if there are several. Default: the browser's choice. */
  readonly powerPreference?: 'low-power' | 'high-performance' | undefined
  /** Level of onnxruntime's graph optimizations. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
  /**
   * Treatment of nodes without a GPU kernel: 'allowed' (default) runs them on the CPU, with copies there and back;
   * 'refused' makes `compile` throw.
   */
  readonly cpuNodes?: 'allowed' | 'refused' | undefined
  /** Creates the runtime to use if WebGPU cannot start, such as `wasm`. Default: an error is thrown. */
  readonly fallback?: (() => Runtime | Promise<Runtime>) | undefined
}

/** A runtime with its own WebGPU device. */
export interface WebGpuRuntime extends Runtime {
  readonly device: TrainingDevice & Required<Pick<Device, 'renew'>>
  /** Its GPU device, with all limits of the adapter; `device.renew()` replaces it. */
  readonly gpu: GPUDevice
  /** Resolves with the error of all later calls when that device is lost. */
  readonly lost: Promise<OnnxIreError>
}

const optionNames = ['wasmPaths', 'threads', 'powerPreference', 'graphOptimizationLevel', 'cpuNodes', 'fallback']

/**
 * Creates a runtime with onnxruntime-web's WebGPU provider. If its GPU device is lost, pending and later calls fail
 * with `device-lost` until `device.renew()` has replaced it.
 * @throws 'invalid-option', and 'runtime' if it cannot start, with the reason. With a `fallback` that runtime is
 * returned instead, and its `description` contains the reason.
 * @example
 * const runtime = await webgpu({ fallback: wasm })
 */
export function webgpu(options?: Omit<WebGpuOptions, 'fallback'>): Promise<WebGpuRuntime>
export function webgpu(options: WebGpuOptions): Promise<Runtime>
export async function webgpu(options: WebGpuOptions = {}): Promise<Runtime> {
  checkNames('webgpu', options, optionNames)
  const { cpuNodes = 'allowed' } = options
  if (cpuNodes !== 'allowed' && cpuNodes !== 'refused')
    throw invalidOption('webgpu', 'cpuNodes', cpuNodes, "'allowed' or 'refused'")
  try {
    const { startWebGpu } = await import('./webgpu-runtime.js')
    return await startWebGpu(options)
  } catch (cause) {
    return insteadOf(cause, options.fallback)
  }
}
