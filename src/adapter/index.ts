/**
 * Adapters of a model: low-rank changes of its layers (LoRA, DoRA) or factors ((IA)^3), which are trained while the
 * model itself remains unchanged.
 * @module onnx-ire/adapter
 */

export { inlineFunctions } from '../onnx/inline-functions.js'
export type { Adapter, AdapterConfig, AdapterKind, AdapterLayer, SavedModule, ScalingLayer } from './adapter.js'
export { applyAdapter } from './apply-adapter.js'
export type { AdapterOptions } from './create-adapter.js'
export { type Ia3Options, ia3 } from './ia3.js'
export { type AdaptableLayer, adaptableLayers, type LayerOptions } from './layers.js'
export { type AdapterInit, type LoraOptions, lora } from './lora.js'
export { type LoraReadyOptions, makeLoraReady } from './lora-ready.js'
export { mergeAdapter } from './merge-adapter.js'
export {
  type AdapterInput,
  adapterFeeds,
  decodeOnnxAdapter,
  encodeOnnxAdapter,
  type OnnxAdapterOptions,
  type TensorClass,
} from './onnx-adapter.js'
export { decodePeft, type EncodePeftOptions, encodePeft, type FilesByName, type PeftAdapter } from './peft.js'
export { mergeQuantized, type QuantizeOptions, quantizeModel } from './quantize-model.js'
export { adapterOf, checksumBase, removeAdapter } from './read-adapter.js'
