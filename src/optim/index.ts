/**
 * Optimizers without a model: updates of plain arrays, optimizer state, schedules, and expressions for optimizers of
 * your own.
 * @module onnx-ire/optim
 */

export {
  type GradientFunction,
  type GradientKind,
  type GradientReply,
  isCurvatureDue,
  type StepContext,
  takeStep,
  type Update,
  type UpdateInput,
  update,
} from '../backend/step.js'
export type { Gradients, MomentArray } from './arrays.js'
export type {
  Estimate,
  FormulaRule,
  GraphRule,
  HiddenMatrix,
  MomentType,
  Rules,
  TrainedTensor,
  UpdateRule,
} from './base-optimizer.js'
export * as expr from './expr/expr.js'
export type { FlatMask } from './ire/mask.js'
export { describeOptimizer } from './optimizer.js'
export type { ParameterSettings } from './parameter-settings.js'
export { type PlateauState, plateauStart, plateauStep } from './plateau.js'
export { learningRateFactor } from './schedule.js'
export { initialState, loadState, type OptimizerState, type SavedState, saveState } from './state.js'
