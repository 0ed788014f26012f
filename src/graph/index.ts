/**
 * Graphs of ONNX operators: building, differentiating, importing and exporting them.
 * @module onnx-ire/graph
 */

export { gradients, type Seed, zerosLike } from '../grad/gradient.js'
export { body } from '../ir/body.js'
export type { TypedArray } from '../ir/dtype.js'
export { constant, input, parameter, scalar } from '../ir/leaf.js'
export { tensor } from '../ir/tensor.js'
export type { Body, Node, Value } from '../ir/value.js'
export { exportGraph, type GraphSpec, modelOf } from '../onnx/export/export-graph.js'
export { importGraph } from '../onnx/import/import-graph.js'
export { printGraph } from '../onnx/print.js'
export type { Operand } from '../op/apply.js'
export { op } from '../op/op.js'
export { buildTrainingGraphs, type MicroBatchGraphs, type TrainingGraphs } from '../train/graphs/build.js'
export { findTrainable } from '../train/model/trainable.js'
