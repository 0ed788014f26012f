/**
 * Adapters: low-rank changes of a model's layers (LoRA), trained while the model itself remains unchanged.
 * @module onnx-ire/adapter
 */

export type { Adapter, AdapterConfig, AdapterKind, AdapterLayer } from './adapter.js'
export { adapterFeeds, decodeOnnxAdapter, encodeOnnxAdapter, type OnnxAdapterOptions } from './onnx-adapter.js'
export { decodePeft, type EncodePeftOptions, encodePeft, type Files, type PeftAdapter } from './peft.js'
