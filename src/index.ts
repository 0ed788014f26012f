/**
 * Models, graphs and gradients, training, data; nothing in it depends on a platform.
 * @module onnx-ire
 */

// Models

export type { Port } from './analysis/inspect/contents.js'
export { type Inspection, type InspectOptions, inspectModel, type StepCost } from './analysis/inspect/inspect.js'
export type { Layer } from './analysis/inspect/layers.js'
export type { InputShapes, MissingLength } from './analysis/inspect/lengths.js'
export type { Operations, StepMemory } from './analysis/inspect/step.js'
export type { TensorReport } from './analysis/inspect/tensors.js'
export { gradients } from './grad/gradient.js'
export { exportGraph, type GraphSpec, modelOf } from './onnx/export.js'
export { type ExternalData, externalFiles } from './onnx/external.js'
export { importGraph } from './onnx/import.js'
export { decodeModel, embedExternalData, encodeModel, type Model, namedTensors, replaceTensors } from './onnx/model.js'
export { printGraph } from './onnx/print.js'
export { type GradientModelOptions, gradientModel } from './train/gradient-model.js'
export { trainingGraphs } from './train/graphs.js'
export type { HeadOptions } from './train/head.js'
export { replaceHead } from './train/head.js'

// Graphs and gradients

export { type Seed, zerosLike } from './grad/gradient.js'
export type { DType, TypedArray } from './ir/dtype.js'
export { constant, input, parameter, scalar } from './ir/leaf.js'
export { body } from './ir/scope.js'
export type { Dim, Shape } from './ir/shape.js'
export { type Tensor, type TensorData, tensor } from './ir/tensor.js'
export type { Body, Graph, Node, Value } from './ir/value.js'
export type { Operand } from './op/apply.js'
export { op } from './op/op.js'

// Training

export { type BinaryCrossEntropyOptions, binaryCrossEntropy } from './loss/binary-cross-entropy.js'
export { combine, type Task } from './loss/combine.js'
export { type CrossEntropyOptions, crossEntropy } from './loss/cross-entropy.js'
export { type HuberOptions, huber } from './loss/huber.js'
export { type KlOptions, kl } from './loss/kl.js'
export { type L1Options, l1 } from './loss/l1.js'
export type { Compared, Loss, LossGraph, Mean, Means, Noise } from './loss/loss.js'
export { type MseOptions, mse } from './loss/mse.js'
export type { RegressionOptions } from './loss/regression.js'
export type { WeightOptions } from './loss/weights.js'
export { accuracy } from './metric/accuracy.js'
export { type ConfusionOptions, confusion } from './metric/confusion.js'
export { mae, rmse } from './metric/errors.js'
export type { Metric, MetricGraph, MetricValue } from './metric/metric.js'
export { metricNamed, metrics } from './metric/named.js'
export { perplexity } from './metric/perplexity.js'
export {
  type Average,
  type AverageOptions,
  f1,
  type PerClassOptions,
  perClass,
  precision,
  recall,
} from './metric/precision-recall.js'
export { type R2Options, r2 } from './metric/r2.js'
export type { Measures } from './metric/tally.js'
export { topK } from './metric/top-k.js'
export type { CheckpointStore, Resumed } from './train/checkpoint-store.js'
export { type EvaluateOptions, evaluateModel } from './train/evaluate.js'
export type { PartGraphs, TrainingGraphs, TrainingOptions } from './train/graphs.js'
export type { GroupOptions, ParameterGroup } from './train/groups.js'
export type { Callback, FitOptions, RoundMetrics, StepProgress, TrainerOptions } from './train/options.js'
export { type Prediction, type PredictOptions, predict } from './train/predict.js'
export { Trainer } from './train/trainer.js'
export { tunedModel, type Weights } from './train/tuned.js'
export type { WatchOptions } from './train/watch.js'
export { type Trainable, trainableOf } from './train/weights.js'
export type { Patterns } from './util/pattern.js'

// Optimizers and steps

export {
  curvatureDue,
  type GradientFunction,
  type GradientKind,
  type GradientReply,
  type StepContext,
  type StepReport,
  takeStep,
  type Update,
  type UpdateInput,
  update,
} from './backend/step.js'
export type { FloatArray } from './ir/float-array.js'
export { type AdamOptions, adam, adamw } from './optim/adam.js'
export type { Gradients, ParameterArrays } from './optim/arrays.js'
export type { BaseOptimizer } from './optim/base-optimizer.js'
export * as expr from './optim/expr/expr.js'
export { type IreOptimizer, type IreOptions, ire } from './optim/ire/ire.js'
export type { FlatMask } from './optim/ire/mask.js'
export { describeOptimizer, type Optimizer } from './optim/optimizer.js'
export type { ParameterSettings } from './optim/parameter-settings.js'
export { type PlateauSchedule, type PlateauState, plateauStart, plateauStep } from './optim/plateau.js'
export { type SamOptimizer, type SamOptions, sam } from './optim/sam.js'
export type { OneCycleSchedule } from './optim/schedule.js'
export {
  type ConstantSchedule,
  type DecaySchedule,
  type ExponentialSchedule,
  type InverseSqrtSchedule,
  learningRateFactor,
  type Schedule,
  type StepSchedule,
} from './optim/schedule.js'
export { type SgdOptions, sgd } from './optim/sgd.js'
export { initialState, loadState, type OptimizerState, type SavedState, saveState } from './optim/state.js'

// Flatness

export { type DensityOptions, type SpectralDensity, spectralDensity } from './analysis/flatness/density.js'
export {
  type Eigenvalue,
  type EigenvalueOptions,
  type Eigenvalues,
  topEigenvalues,
} from './analysis/flatness/eigenvalues.js'
export type { Estimate } from './analysis/flatness/estimate.js'
export type { FilterAxes } from './analysis/flatness/filters.js'
export { type Landscape, type LandscapeOptions, lossLandscape } from './analysis/flatness/landscape.js'
export type { Layout, Place } from './analysis/flatness/layout.js'
export {
  type Flatness,
  type FlatnessMeasure,
  type FlatnessOptions,
  type FlatnessProgress,
  measureFlatness,
} from './analysis/flatness/measure.js'
export { type Sharpness, type SharpnessOptions, sharpness } from './analysis/flatness/sharpness.js'
export {
  LossSurface,
  type ModelSurfaceOptions,
  type SurfaceOptions,
  type TrainerSurfaceOptions,
  type Watch,
} from './analysis/flatness/surface.js'
export type { SymmetricOperator } from './analysis/flatness/symmetric.js'
export { hutchinsonTrace, type Trace, type TraceOptions } from './analysis/flatness/trace.js'
export type { Vector } from './analysis/flatness/vector.js'

// Data, random numbers, runtimes, errors

export { arrays, type Column, type ColumnLike, labels } from './data/arrays.js'
export { type AugmentImagesOptions, augmentImages } from './data/augment/augment-images.js'
export { type RandomCropOptions, randomCrop } from './data/augment/crop.js'
export { type CutoutOptions, cutout } from './data/augment/cutout.js'
export { randomFlip } from './data/augment/flip.js'
export { type AugmentationSpec, augmentationOf } from './data/augment/named.js'
export type { Augmentation, Fill, Picture, Size } from './data/augment/picture.js'
export { type RandAugmentOptions, randAugment } from './data/augment/rand-augment.js'
export { type RandomResizedCropOptions, randomResizedCrop } from './data/augment/resized-crop.js'
export { type Batch, type BatchOptions, batchCount, batches, type EpochOptions } from './data/batches.js'
export { type Cifar, parseCifar } from './data/cifar.js'
export { balanced, type ClassNumbers, classWeights, oneHot } from './data/classes.js'
export type { Example } from './data/collate.js'
export { type BatchContext, type Dataset, type Split, split, subset } from './data/dataset.js'
export { datasetOf } from './data/examples.js'
export { parseIdx } from './data/idx.js'
export { type ImageOptions, images } from './data/image.js'
export { type MixupOptions, mixup } from './data/mixup.js'
export type { PadOptions, Row } from './data/pad.js'
export { padded } from './data/padded.js'
export { type Data, type Examples, type Stream, type StreamOptions, stream } from './data/stream.js'
export type { TokenHeader } from './data/token-file.js'
export { Tokenizer } from './data/tokenize/tokenizer.js'
export { tokenizerJson } from './data/tokenize/tokenizer-json.js'
export { type BpeOptions, type BpeVocabulary, trainBpe } from './data/tokenize/train-bpe.js'
export { WordCounts } from './data/tokenize/words.js'
export { augment, type DataLike, transform } from './data/transform.js'
export { withWeights } from './data/weights.js'
export type { Tensors } from './ir/tensor.js'
export type { Device, DeviceOutputs, DeviceProgram, DeviceTensor, DeviceTensors, Feeds } from './runtime/device.js'
export type { Provider } from './runtime/provider.js'
export type { Program, Runtime } from './runtime/runtime.js'
export { type ErrorCode, OnnxIreError } from './util/errors.js'
export { type Distribution, Random, type RandomState } from './util/random.js'
