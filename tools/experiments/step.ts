import { type GradientReply, type GradientRequest, type Optimizer, type OptimizerState, optimizerStep } from 'onnx-ire'

/** Parameters small enough to write their gradients by hand. */
export type Point = Record<string, Float64Array>

/** One step of the library's optimizer in place, on gradients computed here and now. */
export function step(
  optimizer: Optimizer,
  point: Point,
  state: OptimizerState,
  answer: (request: GradientRequest) => GradientReply,
): void {
  const steps = optimizerStep(optimizer, point, state)
  let next = steps.next()
  while (!next.done) next = steps.next(answer(next.value))
}
