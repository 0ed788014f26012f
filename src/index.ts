/**
 * Fine-tuning of ONNX models: models, losses, metrics, optimizers and the trainer, on any platform.
 * @module onnx-ire
 */

export type { InputShapes, MissingLength } from './analysis/inspect/apply-shapes.js'
export type { ModelPort } from './analysis/inspect/contents.js'
export { type Inspection, type InspectOptions, inspectModel, type StepCost } from './analysis/inspect/inspect.js'
export type { LayerReport } from './analysis/inspect/layers.js'
export type { RunMemory } from './analysis/inspect/run-memory.js'
export type { TensorReport } from './analysis/inspect/tensors.js'
export type { Operations, StepMemory } from './analysis/inspect/training-step.js'
export { findScoreKind, type ScoreKind } from './analysis/snippet/score-kind.js'
export { type Snippet, type SnippetInput, type SnippetTarget, writeSnippet } from './analysis/snippet/snippet.js'
export type { StepReport } from './backend/step.js'
export { type ColumnSource, type DataColumn, fromArrays, labelColumn } from './data/arrays.js'
export type { Augmentation } from './data/augment/float-image.js'
export type { Batch } from './data/batches.js'
export {
  type BatchContext,
  type DataChecksum,
  type Dataset,
  type DatasetSplit,
  type ExampleIdentity,
  type SplitOptions,
  split,
} from './data/dataset.js'
export type { DataExample } from './data/examples.js'
export { type ImageOptions, imageColumn } from './data/image/image-column.js'
export { type ColumnOptions, takeColumns } from './data/model/model-columns.js'
export { addUsage, type ModelUsage, readUsage } from './data/model/model-usage.js'
export {
  type DatasetOrStream,
  type ExampleIterable,
  type ExampleStream,
  type StreamOptions,
  stream,
} from './data/stream.js'
export { augment, type TransformedData } from './data/transform.js'
export type { DType } from './ir/dtype.js'
export type { FloatArray } from './ir/float-array.js'
export type { Dim, Shape } from './ir/shape.js'
export type { Tensor, TensorData, Tensors } from './ir/tensor.js'
export type { Graph } from './ir/value.js'
export { type ArcFaceOptions, arcFace } from './loss/arc-face.js'
export { type BinaryCrossEntropyOptions, binaryCrossEntropy } from './loss/binary-cross-entropy.js'
export { combine, type LossTask } from './loss/combine.js'
export { type CrossEntropyOptions, crossEntropy } from './loss/cross-entropy.js'
export { type CtcOptions, ctc } from './loss/ctc.js'
export { type DistillationOptions, distillation } from './loss/distillation.js'
export {
  type CosineEmbeddingOptions,
  type CosineSimilarityOptions,
  cosineEmbedding,
  cosineSimilarity,
  type MultipleNegativesOptions,
  multipleNegatives,
  type TripletOptions,
  triplet,
} from './loss/embeddings.js'
export { type FocalOptions, focal } from './loss/focal.js'
export { type KlOptions, kl } from './loss/kl.js'
export type { Comparison, Loss, LossGraph, MeanTerm, MeanTerms, NoiseDistribution } from './loss/loss.js'
export { dice, jaccard, type OverlapOptions } from './loss/overlap.js'
export type { RegressionOptions } from './loss/regression.js'
export {
  type CharbonnierOptions,
  charbonnier,
  type HuberOptions,
  huber,
  type L1Options,
  l1,
  type MseOptions,
  mse,
  type PoissonOptions,
  poisson,
  type QuantileOptions,
  quantile,
} from './loss/regression.js'
export type { LossWeightOptions } from './loss/sample-weights.js'
export { type SsimOptions, ssim } from './loss/ssim.js'
export { compileModel } from './lowering/compile.js'
export { lowerForWebgpu } from './lowering/lower-model.js'
export type { Measures } from './metric/accumulator.js'
export { accuracy, topK } from './metric/accuracy.js'
export { type CohenKappaOptions, cohenKappa, type EceOptions, ece } from './metric/agreement.js'
export { margin } from './metric/margin.js'
export type { Metric, MetricGraph, MetricValue } from './metric/metric.js'
export { perplexity } from './metric/perplexity.js'
export {
  type ClassAverage,
  type ClassAverageOptions,
  type ConfusionOptions,
  confusion,
  f1,
  iou,
  type PerClassOptions,
  perClass,
  precision,
  recall,
} from './metric/precision-recall.js'
export { averagePrecision, type RankingOptions, rocAuc } from './metric/ranking.js'
export { createMetric, metrics } from './metric/registry.js'
export { mae, type R2Options, r2, rmse } from './metric/regression.js'
export { cer, decodeGreedily, sequenceAccuracy, type WerOptions, wer } from './metric/sequences.js'
export { decodeModel, embedExternalData, encodeModel, type Model, namedTensors, replaceTensors } from './onnx/model.js'
export { type ExternalData, externalFiles } from './onnx/proto/external-data.js'
export { type AdafactorOptions, adafactor } from './optim/adafactor.js'
export { type AdagradOptions, adagrad } from './optim/adagrad.js'
export { type AdamOptions, adam, adamw } from './optim/adam.js'
export { type Adamw8bitOptions, adamw8bit } from './optim/adamw8bit.js'
export { type AdemamixOptions, ademamix } from './optim/ademamix.js'
export type { ParameterArrays } from './optim/arrays.js'
export type { BaseOptimizer } from './optim/base-optimizer.js'
export { type IreOptimizer, type IreOptions, ire } from './optim/ire/ire.js'
export { type LionOptions, lion } from './optim/lion.js'
export { type MuonOptions, muon } from './optim/muon.js'
export { type NadamOptions, nadam } from './optim/nadam.js'
export type { Optimizer } from './optim/optimizer.js'
export type { PlateauSchedule } from './optim/plateau.js'
export { type ProdigyOptions, prodigy } from './optim/prodigy.js'
export { type RadamOptions, radam } from './optim/radam.js'
export { type RmspropOptions, rmsprop } from './optim/rmsprop.js'
export { type SamOptimizer, type SamOptions, sam } from './optim/sam.js'
export type {
  ConstantSchedule,
  DecaySchedule,
  ExponentialSchedule,
  InverseSqrtSchedule,
  OneCycleSchedule,
  Schedule,
  StepSchedule,
} from './optim/schedule.js'
export {
  type ScheduleFreeAdamwOptions,
  type ScheduleFreeSgdOptions,
  scheduleFreeAdamw,
  scheduleFreeSgd,
} from './optim/schedule-free.js'
export { type SgdOptions, sgd } from './optim/sgd.js'
export type { Device, DeviceOutputs, DeviceProgram, DeviceTensor, DeviceTensors, Feeds } from './runtime/device.js'
export type { CompileHints, Helpers, Program, Provider, Runtime } from './runtime/runtime.js'
export {
  type FindLearningRateOptions,
  findLearningRate,
  type LearningRatePoint,
  type LearningRateTest,
} from './sweep/find-learning-rate.js'
export type { SampledRange, SweepAxes, SweepAxis, SweepValues } from './sweep/search.js'
export { type SweepOptions, type SweepResult, type SweepRun, type SweepTrial, sweep } from './sweep/sweep.js'
export { addTeacher, type TeacherOptions } from './train/add-teacher.js'
export type { FeatureFile, FeatureProgress, FeatureStore, OnFeatures } from './train/cached-features.js'
export { modelFromCheckpoint, type WeightSelection } from './train/checkpoint/model-from-checkpoint.js'
export type { CheckpointStore, Resumed } from './train/checkpoint/store.js'
export {
  type CrossValidateOptions,
  type CrossValidation,
  crossValidate,
  type FoldMetric,
} from './train/cross-validate.js'
export { type EvaluateOptions, evaluateModel } from './train/evaluate.js'
export type { TrainingOptions } from './train/graphs/build.js'
export { type GradientModelOptions, gradientModel } from './train/graphs/gradient-model.js'
export type { Recompute } from './train/graphs/recompute.js'
export type { LocalStepsOptions } from './train/local-steps.js'
export type { MonitorOptions } from './train/metric-monitor.js'
export { type FreeBatchOptions, freeBatch } from './train/model/free-batch.js'
export type { FreedBatch } from './train/model/free-batch-axis.js'
export { type HeadOptions, replaceHead } from './train/model/replace-head.js'
export type { StartOptions } from './train/model/start-model.js'
export { type TiedCopy, tieTensors } from './train/model/tie-tensors.js'
export type { Trainable } from './train/model/trainable.js'
export { type SharedTensor, untieTensors } from './train/model/untie-tensors.js'
export type { Callback, FitOptions, IntervalMetrics, StepProgress, TrainerOptions } from './train/options.js'
export type { FreezeOptions, GroupOptions, ParameterGroup } from './train/parameter-groups.js'
export { type Prediction, type PredictOptions, predict } from './train/predict.js'
export type { ProcessGroup } from './train/process-group.js'
export type { TensorMeasures } from './train/tensor-measures.js'
export { type TrackedValues, type Tracker, track } from './train/track.js'
export { Trainer } from './train/trainer.js'
export { watchEnhancement } from './train/watch-enhancement.js'
export { type ErrorCode, OnnxIreError } from './util/errors.js'
export type { NamePatterns, NameSelection } from './util/pattern.js'
