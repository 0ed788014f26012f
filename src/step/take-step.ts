import type { ParameterArrays } from '../optim/arrays.js'
import type { Optimizer } from './optimizer.js'
import type { OptimizerState } from './state.js'
import { type GradientKind, type GradientReply, optimizerStep, type StepContext, type StepReport } from './step.js'

/** Computes one gradient at `parameters`, which differ from the trained ones on SAM's second call. */
export type GradientFunction = (
  kind: GradientKind,
  parameters: ParameterArrays,
) => GradientReply | Promise<GradientReply>

/**
 * Takes one step in place, asking `gradient` for what it needs; see `optimizerStep` for the order of the calls.
 * When `gradient` fails, or what it returns is not finite, `parameters` and `state` are as before.
 * @throws 'not-finite', 'invalid-data', 'invalid-option', and whatever `gradient` throws
 */
export async function takeStep(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
  gradient: GradientFunction,
  context: StepContext = {},
): Promise<StepReport> {
  const step = optimizerStep(optimizer, parameters, state, context)
  let next = step.next()
  while (!next.done) next = step.next(await gradient(next.value.kind, next.value.parameters))
  return next.value
}
