import { needed } from '../needed.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import type { Optimizer } from './optimizer.js'
import type { Named, Residence } from './residence.js'
import type { OptimizerState } from './state.js'
import { type GradientKind, type GradientReply, optimizerStep, type StepContext, type StepReport } from './step.js'

/** Computes one gradient at `parameters`, which differ from the trained ones on SAM's second call. */
export type GradientFunction<P = ParameterArrays, G = Gradients> = (
  kind: GradientKind,
  parameters: P,
) => GradientReply<G> | Promise<GradientReply<G>>

/**
 * Takes one step in place, asking `gradient` for what it needs, in this order: 'curvature' when a refresh of IRE's mask is
 * due; 'loss' at the parameters; with SAM 'loss' at theta + e. When `gradient` fails, or what it returns is not finite,
 * `parameters` and `state` are as before.
 * @throws 'not-finite', 'invalid-data', 'invalid-option', and whatever `gradient` throws
 */
export async function takeStep(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
  gradient: GradientFunction,
  context: StepContext = {},
): Promise<StepReport> {
  // A device does without.
  const { ArrayResidence } = await needed(import('./array-residence.js'))
  const residence = new ArrayResidence(optimizer, parameters, state)
  const report = await takeStepIn(residence, optimizer, state.step, gradient, context)
  state.step = report.step + 1
  return report
}

/**
 * Takes one step where parameters, moments and mask live; `takeStep` is the case of plain arrays.
 * @param step which one, from 0; to count is the caller's
 * @throws 'not-finite', 'invalid-data', 'invalid-option', and whatever `gradient` and the residence throw
 */
export async function takeStepIn<P extends Named, G>(
  residence: Residence<P, G>,
  optimizer: Optimizer,
  step: number,
  gradient: GradientFunction<P, G>,
  context: StepContext = {},
): Promise<StepReport> {
  const course = optimizerStep(residence, optimizer, step, context)
  let next = course.next()
  while (!next.done) {
    const wanted = next.value
    next = course.next(await (wanted instanceof Promise ? wanted : gradient(wanted.kind, wanted.parameters)))
  }
  return next.value
}
