/**
 * Data sets, streams, batches, augmentation, tokenizers and random numbers.
 * @module onnx-ire/data
 */

export { Random, type RandomDistribution, type RandomState } from '../util/random.js'
export { type AugmentedMasksOptions, type AugmentImagesOptions, augmentImages } from './augment/augment-images.js'
export type { FloatImage, ImageFill, ImageSize, MaskAugmentation } from './augment/float-image.js'
export { type MixupOptions, mixup } from './augment/mixup.js'
export { type RandAugmentOptions, randAugment } from './augment/rand-augment.js'
export { type AugmentationSpec, createAugmentation } from './augment/registry.js'
export {
  type CutoutOptions,
  cutout,
  type RandomCropOptions,
  type RandomResizedCropOptions,
  randomCrop,
  randomFlip,
  randomResizedCrop,
} from './augment/spatial.js'
export { type BatchOptions, type BatchPart, batchCount, batches, type EpochOptions } from './batches.js'
export { type ClassLabels, classWeights, oneHot, oversample, withSampleWeights } from './classes.js'
export { subset } from './dataset.js'
export { fromExamples } from './examples.js'
export { type CifarImages, parseCifar } from './formats/cifar.js'
export { parseIdx } from './formats/idx.js'
export type { TokenFileHeader } from './formats/token-file.js'
export type { PaddedRow, PadOptions } from './padding.js'
export { paddedColumn } from './padding.js'
export { Tokenizer, tokenizerJson, WordCounts } from './tokenize/tokenizer.js'
export { type BpeOptions, type BpeVocabulary, trainBpe } from './tokenize/train-bpe.js'
export { transform } from './transform.js'
