import type { TrainingDevice } from '../../backend/backend.js'
import type { Device } from '../../runtime/device.js'
import type { Runtime } from '../../runtime/runtime.js'
import type { OnnxIreError } from '../../util/errors.js'
import type { WasmSettings } from './wasm-settings.js'

/** Options of `webgpu`. */
export interface WebGpuOptions extends WasmSettings {
  /**
   * Preferred GPU if there are several: the same for all open runtimes of a page or worker. Default
   * 'high-performance'.
   */
  readonly powerPreference?: 'low-power' | 'high-performance' | undefined
  /** Level of onnxruntime's graph optimizations. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
  /**
   * Treatment of nodes without a GPU kernel: 'allowed' (default) runs them on the CPU, with copies there and back;
   * 'forbidden' makes `compile` throw, with the names of the nodes.
   */
  readonly cpuNodes?: 'allowed' | 'forbidden' | undefined
  /**
   * Computation of losses and gradients in a training run: 'shaders', compute shaders generated from the graph, or
   * onnxruntime. A graph that the shaders cannot compute runs in onnxruntime, and so do batches of more than 12
   * different lengths; the runtime's `description` says so. Default 'shaders'.
   */
  readonly gradients?: 'onnxruntime' | 'shaders' | undefined
  /**
   * Creates the runtime to use if WebGPU cannot start, such as `wasm`, from `wasmPaths` if these are a folder. Default:
   * an error is thrown.
   */
  readonly fallback?: ((settings: Pick<WasmSettings, 'wasmPaths'>) => Runtime | Promise<Runtime>) | undefined
}

/** GPUDevice where TypeScript knows it: with the library 'dom' from TypeScript 6 on, or with @webgpu/types. */
type GpuDevice = typeof globalThis extends { readonly GPUDevice: { readonly prototype: infer T } } ? T : unknown

/** A runtime on onnxruntime's WebGPU device, which all runtimes of a page or worker share. */
export interface WebGpuRuntime extends Runtime, AsyncDisposable {
  readonly device: TrainingDevice & Required<Pick<Device, 'recover'>>
  /** The GPU device, with the adapter's limits of buffers and compute shaders; `device.recover()` replaces it. */
  readonly gpu: GpuDevice
  /** Resolves with the error of all later calls when that device is lost. */
  readonly lost: Promise<OnnxIreError>
}
