/**
 * The Node platform: onnxruntime-node, and files of models, data and checkpoints.
 * @module onnx-ire/node
 */

export type { WithClassNames } from '../data/classes.js'
export type { CsvColumns, CsvOptions, CsvTensor, StreamCsvOptions } from '../data/formats/csv.js'
export type { DatePart } from '../data/formats/date.js'
export type { FeatureOptions } from '../data/formats/table-features.js'
export type { ImageFilesOptions } from '../data/image/image-files.js'
export type { ImageMasks, ImageMasksOptions, MaskOptions } from '../data/image/mask-files.js'
export type { FeatureStatistics, TableStatistics } from '../data/table-statistics.js'
export type { CheckpointFolderOptions } from '../train/checkpoint/store.js'
export type { CudaOptions } from './c-api/provider.js'
export { type CApiOptions, cApi } from './c-api/runtime.js'
export { type CifarPart, type CifarSet, readCifar10, readCifar100 } from './data/cifar.js'
export { readCsv, streamCsv } from './data/csv.js'
export type { ClassFolder, LabeledFiles } from './data/folders.js'
export { readIdx } from './data/idx.js'
export { type ImageFolder, type ImageFolderOptions, imageFiles, imageFolder } from './data/image-folder.js'
export { imageMasks } from './data/image-masks.js'
export { type ImageTexts, type ImageTextsOptions, imageTexts } from './data/image-texts.js'
export { readJsonRows } from './data/json-rows.js'
export type { JsonField, JsonTensor } from './data/jsonl.js'
export { type JsonlOptions, readJsonl, type StreamJsonlOptions, streamJsonl } from './data/jsonl.js'
export { type ParquetText, parquetTexts, streamParquet } from './data/parquet.js'
export { readLines, readText, streamLines, type TextFolderOptions, textFolder } from './data/text.js'
export { readTokenizer, readTokens, type TokenBlocks, type TokenWindowOptions, writeTokens } from './data/tokens.js'
export { readOnnxAdapter, readPeftFolder, writeOnnxAdapter, writePeftFolder } from './files/adapter.js'
export { checkpointFolder } from './files/checkpoint-folder.js'
export { type FeatureFilesOptions, featureFiles } from './files/feature-files.js'
export { readModel, type WriteModelOptions, writeModel } from './files/model.js'
export { modelFolder, writeModelFolder } from './files/model-folder.js'
export { type MpiGroup, type MpiOptions, mpi } from './mpi/mpi.js'
export type { Point } from './plot.js'
export {
  type Curve,
  type CurveOptions,
  type LandscapePlotOptions,
  type PlotOptions,
  plotCurves,
  plotLandscape,
  plotSpectrum,
} from './plot.js'
export { node } from './runtime/node.js'
export type { NodeFallbackOptions, NodeOptions, NodeWebGpuOptions, SessionOptions } from './runtime/options.js'
export { csvLog } from './trackers/csv-log.js'
export { type TensorBoard, type TensorBoardOptions, tensorBoard } from './trackers/tensorboard.js'
