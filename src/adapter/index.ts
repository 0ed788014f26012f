/**
 * Adapters: low-rank changes of a model's layers (LoRA), trained while the model itself remains unchanged.
 * @module onnx-ire/adapter
 */

export type { Adapter, AdapterConfig, AdapterKind, AdapterLayer } from './adapter.js'
