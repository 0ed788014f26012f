import type { FloatArray } from '../ir/float-array.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { sumOfSquares } from '../optim/expr/interpreter.js'
import type { FlatMask } from '../optim/ire/mask.js'
import { getOwn } from '../util/record.js'

/** Measures of one trained tensor in one step. */
export interface TensorMeasures {
  /** Norm of the gradient of the loss, with SAM the one after the ascent, before clipping. */
  readonly gradientNorm: number
  /** Norm of the tensor before the step. */
  readonly norm: number
  /** Norm of the update, divided by `norm`; null if `norm` is 0. */
  readonly updateRatio: number | null
  /** Share of the coordinates that IRE treats as flat; absent without a mask. */
  readonly flatShare?: number
  /**
   * Share of the flat coordinates that were flat in the last mask, too: for two independent masks the flat share of the
   * last one. Present if the step refreshed the mask.
   */
  readonly maskOverlap?: number
  /** Norm of the part of the update that IRE adds, divided by the norm of the update; absent without a mask. */
  readonly enhancement?: number
}

/** One step, as far as its measures need it. */
interface MeasuredStep {
  readonly before: ParameterArrays
  readonly after: ParameterArrays
  /** The gradients of the tensors that the step trained. */
  readonly gradients: Gradients
  /** The mask that the step used. */
  readonly mask: FlatMask | null
  /** `flat` of the mask before the step, if the step refreshed it. */
  readonly lastFlat: FlatMask['flat'] | undefined
  readonly kappa: number
}

/** Measures the tensors that a step trained. */
export const measureTensors = (step: MeasuredStep): Record<string, TensorMeasures> =>
  Object.fromEntries(
    Object.entries(step.gradients).map(([name, gradient]) => [name, measureTensor(name, gradient, step)]),
  )

function measureTensor(name: string, gradient: FloatArray, step: MeasuredStep): TensorMeasures {
  const [before, after] = [step.before[name]!, step.after[name]!]
  const norm = Math.sqrt(sumOfSquares(before, before.length))
  const [flat, lastFlat] = [getOwn(step.mask?.flat, name), getOwn(step.lastFlat, name)]
  let [squares, added, count, both] = [0, 0, 0, 0]
  // du = (1 + kappa n) d, of which IRE adds kappa n d.
  const share = step.kappa / (1 + step.kappa)
  for (let i = 0; i < before.length; i++) {
    const update = after[i]! - before[i]!
    squares += update * update
    if (!flat?.[i]) continue
    added += (share * update) ** 2
    count++
    if (lastFlat?.[i]) both++
  }
  const gradientNorm = Math.sqrt(sumOfSquares(gradient, before.length))
  const measures = { gradientNorm, norm, updateRatio: norm === 0 ? null : Math.sqrt(squares) / norm }
  if (!flat) return measures
  return {
    ...measures,
    flatShare: count / flat.length,
    ...(lastFlat && count > 0 ? { maskOverlap: both / count } : {}),
    enhancement: squares === 0 ? 0 : Math.sqrt(added / squares),
  }
}
