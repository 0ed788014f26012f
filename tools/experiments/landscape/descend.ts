import type { Optimizer, ParameterArrays } from 'onnx-ire'
import { initialState } from 'onnx-ire/optim'
import { step } from '../step.js'

/** L(u, v) = (1 + u^2) v^2 / 2: v = 0 is a valley of minima of sharpness 1 + u^2, flattest at u = 0. */
export function gradient({ u, v }: ParameterArrays): Record<string, Float64Array> {
  const [x, y] = [u![0]!, v![0]!]
  return { u: Float64Array.of(x * y * y), v: Float64Array.of((1 + x * x) * y) }
}

/** Distance of v from the valley at which a run counts as diverged. */
const divergence = 10

export interface Descent {
  /** u at the start and after each step. */
  readonly u: readonly number[]
  readonly v: number
  /** The step after which |v| exceeded 10; null if it never did. */
  readonly divergedAt: number | null
}

/** Runs at most `steps` steps from (u, v); ends early if `until` returns true. */
export function descend(
  optimizer: Optimizer,
  from: readonly [u: number, v: number],
  steps: number,
  until: (u: number, v: number) => boolean = () => false,
): Descent {
  const at = { u: Float64Array.of(from[0]), v: Float64Array.of(from[1]) }
  const state = initialState(optimizer, at)
  const u = [from[0]]
  for (let t = 1; t <= steps && !until(u.at(-1)!, at.v[0]!); t++) {
    step(optimizer, at, state, ({ parameters }) => ({ gradients: gradient(parameters) }))
    if (!(Math.abs(at.v[0]!) <= divergence)) return { u, v: at.v[0]!, divergedAt: t }
    u.push(at.u[0]!)
  }
  return { u, v: at.v[0]!, divergedAt: null }
}
