import { needed } from '../needed.js'
import type { Runtime } from '../runtime/runtime.js'
import { checkNames } from '../util/check.js'
import type { WasmSettings } from './ort.js'

/** Options of `wasm`; every one may be left out. */
export interface WasmOptions extends WasmSettings {
  /** How far onnxruntime rewrites the graph. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
}

/**
 * onnxruntime-web in WebAssembly, on the processor. A run blocks the thread it is called from: use it in a Web Worker, and
 * the page stays alive.
 *
 * Throws `invalid-option`, and `runtime` saying why it cannot start.
 */
export async function wasm(options: WasmOptions = {}): Promise<Runtime> {
  checkNames('wasm', options, ['wasmPaths', 'threads', 'graphOptimizationLevel'])
  // A page that has a GPU needs nothing of it.
  const { startWasm } = await needed(import('./wasm-runtime.js'))
  return startWasm(options)
}
