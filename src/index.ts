// Models

// Data, random numbers, runtimes
export { arrays, labels } from './data/arrays.js'
export { type Dataset, split, subset, transform } from './data/dataset.js'
export { parseIdx } from './data/idx.js'
export { type ImageOptions, images } from './data/image.js'
export { type ErrorCode, OnnxIreError } from './errors.js'
export { gradients, type Seed, zerosLike } from './grad/gradient.js'
// Graphs and gradients
export type { DType, TypedArray } from './ir/dtype.js'
export { constant, input, parameter, scalar } from './ir/leaf.js'
export { body } from './ir/scope.js'
export type { Dim, Shape } from './ir/shape.js'
export { type Tensor, tensor } from './ir/tensor.js'
export type { Body, Graph, Value } from './ir/value.js'
// Losses
export { type CrossEntropyOptions, crossEntropy } from './loss/cross-entropy.js'
export type { Loss, LossGraph, Noise } from './loss/loss.js'
export { type MseOptions, mse } from './loss/mse.js'
export { exportGraph, type GraphSpec, modelOf } from './onnx/export.js'
export { importGraph } from './onnx/import.js'
export { decodeModel, embedExternalData, encodeModel, type Model, namedTensors, replaceTensors } from './onnx/model.js'
export { printGraph } from './onnx/print.js'
export { op } from './op/index.js'
// Optimizers and steps
export { type AdamOptions, adam, adamw } from './optim/adam.js'
export type { FloatArray, Gradients, ParameterArrays } from './optim/arrays.js'
export type { BaseOptimizer } from './optim/base.js'
export { learningRateFactor, type Schedule } from './optim/schedule.js'
export { type SgdOptions, sgd } from './optim/sgd.js'
export { Random, type RandomState } from './random.js'
export type { Program, Runtime, Tensors } from './runtime/runtime.js'
export { type IreOptimizer, type IreOptions, ire } from './step/ire.js'
export type { Optimizer } from './step/optimizer.js'
export { type SamOptimizer, type SamOptions, sam } from './step/sam.js'
export { loadState, type SavedState, saveState } from './step/saved-state.js'
export { initialState, type OptimizerState } from './step/state.js'
export {
  curvatureDue,
  type GradientKind,
  type GradientReply,
  optimizerStep,
  type StepContext,
  type StepReport,
} from './step/step.js'
export { type GradientFunction, takeStep } from './step/take-step.js'
export { type Update, type UpdateInput, update } from './step/update.js'
export { type GradientModelOptions, gradientModel } from './train/gradient-model.js'
// Training
export { type TrainingGraphs, type TrainingOptions, trainingGraphs } from './train/graphs.js'
export { type HeadOptions, replaceHead } from './train/head.js'
export type { Measures } from './train/metrics.js'
export { type EpochMetrics, type FitOptions, type StepProgress, Trainer, type TrainerOptions } from './train/trainer.js'
export { type Trainable, trainableOf } from './train/weights.js'
