/**
 * The browser platform: onnxruntime-web on WebAssembly and WebGPU, in a page or, better, a Web Worker; models, data and
 * checkpoints from files, addresses and the origin's private file system.
 * @module onnx-ire/web
 */

export type { WithClassNames } from '../data/classes.js'
export type { CsvColumns, CsvOptions, CsvTensor } from '../data/formats/csv.js'
export type { DatePart } from '../data/formats/date.js'
export type { FeatureOptions } from '../data/formats/table-features.js'
export type { ImageFilesOptions } from '../data/image/image-files.js'
export type { ImageMasks, ImageMasksOptions, MaskOptions } from '../data/image/mask-files.js'
export type { FeatureStatistics, TableStatistics } from '../data/table-statistics.js'
export type { CheckpointFolderOptions } from '../train/checkpoint/store.js'
export { type PixelsOptions, pixels } from './data/decode-image.js'
export {
  type ClassFolder,
  type FolderFile,
  type FolderFiles,
  type ImageFolderOptions,
  imageFiles,
  imageFolder,
  listFiles,
} from './data/image-folder.js'
export { imageMasks } from './data/image-masks.js'
export { readCsv, readIdx, readJsonRows } from './data/read.js'
export { checkpointFolder } from './files/checkpoint-folder.js'
export { downloadModel, type ReadModelOptions, readModel, writeModel } from './files/model.js'
export { modelFolder } from './files/model-folder.js'
export type { Source } from './files/source.js'
export { type Content, storage } from './files/storage.js'
export { type WasmOptions, wasm } from './runtime/wasm.js'
export type { WasmFiles, WasmSettings } from './runtime/wasm-settings.js'
export { webgpu } from './runtime/webgpu.js'
export type { WebGpuOptions, WebGpuRuntime } from './runtime/webgpu-options.js'
