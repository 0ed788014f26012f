import { everyOperator } from './family/every.js'
import * as gradient from './grad/gradient.js'
import type { Graph, Value } from './ir/value.js'
import * as importing from './onnx/import.js'
import type { Model } from './onnx/model.js'
import type { TrainingGraphs, TrainingOptions } from './train/graphs.js'
import * as head from './train/head.js'
import * as graphs from './train/training-graphs.js'

// For whoever works on graphs by hand, where nothing waits: every operator is there. A trainer loads those of its model.

/**
 * The graph of a model, its operators brought to today's form and the functions it defines inlined. Floating-point
 * initializers, and floating-point Constant nodes with more than one element, become `parameters`, those inside the bodies
 * of If, Loop and Scan and inside functions too; every other tensor is a constant. A tensor that is not of the main graph
 * goes by its own name where no other has it, else by one that tells its place (`If_0/then_branch/weight`).
 *
 * Throws `unsupported-operator` listing every operator this library does not know, and `invalid-model` with the node or
 * tensor where the model contradicts itself.
 */
export const importGraph = (model: Model): Graph => importing.importGraph(model, everyOperator)

/**
 * The vector-Jacobian product d(sum <dy, y>) / dx for every `x` of `wrt`, by reverse accumulation. `null` where `x` does
 * not influence any `y` differentiably; `zerosLike(x)` is then its gradient.
 *
 * Throws `not-differentiable` listing every operator on the way that has no gradient.
 */
export const gradients = (seeds: readonly gradient.Seed[], wrt: readonly Value[]): (Value | null)[] =>
  gradient.gradients(seeds, wrt, everyOperator.calculus)

/**
 * Builds the graphs from a model and a loss; float16 and bfloat16 models are trained in float32.
 * Throws `not-differentiable`, `invalid-option`.
 */
export const trainingGraphs = (model: Graph, options: TrainingOptions): TrainingGraphs =>
  graphs.trainingGraphs(model, options, everyOperator.calculus)

/**
 * The model with the last layer before an output (Gemm, MatMul or Conv, its bias apart or inside, a Softmax behind it or
 * not) sized for another number of classes, its weights drawn anew: uniform in +-1/sqrt(inputs per output), as PyTorch draws
 * a linear layer. Nodes and names stay as they are.
 *
 * Throws `invalid-option` when there is no such layer, when other nodes use its weights, or when something behind it fixes the number of classes.
 */
export const replaceHead = (model: Model, options: head.HeadOptions): Model =>
  head.replaceHead(model, options, everyOperator)
