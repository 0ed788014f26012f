import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { OnnxIreError } from '../util/errors.js'
import { ArrayResidence } from './array-residence.js'
import { layers, type Optimizer } from './optimizer.js'
import { cloneState, initialState, type OptimizerState } from './state.js'
import { type GradientRequest, optimizerStep, type StepContext, type StepReport } from './step.js'

/** What one `update` takes. */
export interface UpdateInput extends StepContext {
  readonly optimizer: Optimizer
  readonly parameters: ParameterArrays
  /** The gradient of the loss; for SAM, which needs it at a second point too, a function of the parameters. */
  readonly gradients: Gradients | ((parameters: ParameterArrays) => Gradients)
  /**
   * What IRE ranks by, needed when `curvatureDue` and ignored otherwise: with `curvature: 'sampled'` the gradient against
   * sampled labels, which is squared; with 'hutchinson' v * Hv, which is taken as it is.
   */
  readonly curvature?: Gradients | ((parameters: ParameterArrays) => Gradients)
  /**
   * B, the number of samples `curvature` is the mean over; default 1. It scales F and does not change the ranking; with
   * 'hutchinson' it plays no part.
   */
  readonly batchSize?: number
  /** From the previous update; left out on the first. */
  readonly state?: OptimizerState
}

/** What one `update` returns: new arrays throughout, the given ones are untouched. */
export interface Update {
  readonly parameters: Record<string, FloatArray>
  readonly state: OptimizerState
  readonly report: StepReport
}

/**
 * One optimizer step over plain arrays, without a model: from parameters and gradients to new parameters and a new state.
 * It is a pure function: the same input gives the same output, and nothing given is written to.
 *
 * @throws 'invalid-option' when curvature gradients are due and not given, or SAM is given arrays instead of a function;
 *   'invalid-data' for missing or misshapen arrays; 'not-finite' naming the step and the tensor
 */
export function update(input: UpdateInput): Update {
  const { optimizer, batchSize = 1 } = input
  if (layers(optimizer).sam && typeof input.gradients !== 'function')
    throw new OnnxIreError(
      'invalid-option',
      'update: SAM needs a second gradient, at theta + e: give `gradients` as a function of the parameters, or use takeStep',
    )
  const parameters = mapArrays(input.parameters, (array) => array.slice())
  const state = input.state ? cloneState(input.state) : initialState(optimizer, parameters)
  const residence = new ArrayResidence(optimizer, parameters, state)
  const course = optimizerStep(residence, optimizer, state.step, input)
  let next = course.next()
  // Arrays are here and now: no promise is ever among what is wanted.
  while (!next.done)
    next = course.next({ gradients: answer(input, next.value as GradientRequest, state.step), batchSize })
  state.step = next.value.step + 1
  return { parameters, state, report: next.value }
}

function answer(
  { optimizer, gradients, curvature }: UpdateInput,
  { kind, parameters }: GradientRequest,
  step: number,
): Gradients {
  const source = kind === 'curvature' ? curvature : gradients
  const needed =
    layers(optimizer).ire?.curvature === 'hutchinson'
      ? "v * Hv, the estimate of the Hessian's diagonal"
      : "the gradients against labels sampled from the model's own output"
  if (source === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `update: step ${step} refreshes IRE's mask and needs \`curvature\`: ${needed}; curvatureDue(optimizer, state) tells when, and curvature: 'empirical' does without`,
    )
  return typeof source === 'function' ? source(parameters) : source
}
