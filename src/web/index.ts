/**
 * The browser platform: onnxruntime-web on WebAssembly and WebGPU, in a page or, better, a Web Worker.
 * @module onnx-ire/web
 */

export type { WasmFiles, WasmSettings } from './ort.js'
export { type WasmOptions, wasm } from './wasm.js'
export { type WebGpuOptions, type WebGpuRuntime, webgpu } from './webgpu.js'
