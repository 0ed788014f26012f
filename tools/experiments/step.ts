import type { Optimizer, ParameterArrays } from 'onnx-ire'
import { type GradientKind, type Gradients, type OptimizerState, update } from 'onnx-ire/optim'

/** Parameters of a problem with hand-written gradients. */
export type Point = Record<string, Float64Array>

/** Applies one step of a library optimizer in place, with gradients from a callback. */
export function step(
  optimizer: Optimizer,
  point: Point,
  state: OptimizerState,
  answer: (request: { kind: GradientKind; parameters: ParameterArrays }) => { gradients: Gradients },
): void {
  const gradients = (kind: GradientKind) => (parameters: ParameterArrays) => answer({ kind, parameters }).gradients
  const next = update({
    optimizer,
    parameters: point,
    state,
    gradients: gradients('loss'),
    curvature: gradients('curvature'),
  })
  for (const [name, array] of Object.entries(point)) array.set(next.parameters[name]!)
  Object.assign(state, next.state)
}
