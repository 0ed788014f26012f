/**
 * The browser platform: onnxruntime-web on WebAssembly, in a page or, better, a Web Worker.
 * @module onnx-ire/web
 */

export type { WasmSettings } from './ort.js'
export { type WasmOptions, wasm } from './wasm.js'
