// Models

export { exportGraph, type GraphSpec, modelOf } from './onnx/export.js'
export { type ExternalData, externalFiles } from './onnx/external.js'
export { importGraph } from './onnx/import.js'
export { decodeModel, embedExternalData, encodeModel, type Model, namedTensors, replaceTensors } from './onnx/model.js'
export { printGraph } from './onnx/print.js'
export { type GradientModelOptions, gradientModel } from './train/gradient-model.js'
export { type HeadOptions, replaceHead } from './train/head.js'
export { type Inspection, inspectModel, type Port, type TensorReport } from './train/inspect.js'

// Graphs and gradients

export { gradients, type Seed, zerosLike } from './grad/gradient.js'
export type { DType, TypedArray } from './ir/dtype.js'
export { constant, input, parameter, scalar } from './ir/leaf.js'
export { body } from './ir/scope.js'
export type { Dim, Shape } from './ir/shape.js'
export { type Tensor, type TensorData, tensor } from './ir/tensor.js'
export type { Body, Graph, Node, Value } from './ir/value.js'
export type { Operand } from './op/apply.js'
export { op } from './op/index.js'

// Training

export { type CrossEntropyOptions, crossEntropy } from './loss/cross-entropy.js'
export type { Loss, LossGraph, Noise } from './loss/loss.js'
export { type MseOptions, mse } from './loss/mse.js'
export { type EvaluateOptions, evaluateModel } from './train/evaluate.js'
export { type TrainingGraphs, type TrainingOptions, trainingGraphs } from './train/graphs.js'
export type { Measures } from './train/metrics.js'
export type { Patterns } from './train/pattern.js'
export { type EpochMetrics, type FitOptions, type StepProgress, Trainer, type TrainerOptions } from './train/trainer.js'
export { tunedModel } from './train/tuned.js'
export { type Trainable, trainableOf } from './train/weights.js'

// Optimizers and steps

export { type AdamOptions, adam, adamw } from './optim/adam.js'
export type { FloatArray, Gradients, ParameterArrays } from './optim/arrays.js'
export type { BaseOptimizer, Displacement } from './optim/base.js'
export { learningRateFactor, type Schedule } from './optim/schedule.js'
export { type SgdOptions, sgd } from './optim/sgd.js'
export { type IreOptimizer, type IreOptions, ire } from './step/ire.js'
export type { FlatMask } from './step/mask.js'
export { describeOptimizer, type Optimizer } from './step/optimizer.js'
export { type SamOptimizer, type SamOptions, sam } from './step/sam.js'
export { loadState, type SavedState, saveState } from './step/saved-state.js'
export { initialState, type OptimizerState } from './step/state.js'
export {
  curvatureDue,
  type GradientKind,
  type GradientReply,
  type GradientRequest,
  optimizerStep,
  type StepContext,
  type StepReport,
} from './step/step.js'
export { type GradientFunction, takeStep } from './step/take-step.js'
export { type Update, type UpdateInput, update } from './step/update.js'

// Data, random numbers, runtimes, errors

export { arrays, type Column, type ColumnLike, labels } from './data/arrays.js'
export { type Batch, type BatchOptions, batchCount, batches, type EpochOptions } from './data/batches.js'
export { type Dataset, type Split, split, subset, transform } from './data/dataset.js'
export { parseIdx } from './data/idx.js'
export { type ImageOptions, images } from './data/image.js'
export { type ErrorCode, OnnxIreError } from './errors.js'
export { Random, type RandomState } from './random.js'
export type { Program, Runtime, Tensors } from './runtime/runtime.js'
