import type { Runtime } from '../runtime/runtime.js'
import { checkNames } from '../util/check.js'
import type { WasmSettings } from './ort.js'

/** Options of `wasm`. */
export interface WasmOptions extends WasmSettings {
  /** Level of onnxruntime's graph optimizations. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
}

/**
 * Creates a runtime with onnxruntime-web in WebAssembly, on the CPU. A run blocks the calling thread: use it in a Web
 * Worker to keep the page responsive.
 * @throws 'invalid-option', and 'runtime' if it cannot start, with the reason
 * @example
 * const runtime = await wasm()
 */
export async function wasm(options: WasmOptions = {}): Promise<Runtime> {
  checkNames('wasm', options, ['wasmPaths', 'threads', 'graphOptimizationLevel'])
  const { startWasm } = await import('./wasm-runtime.js')
  return startWasm(options)
}
