import { adamOptions } from './adam.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, scalar } from './expr/expr.js'
import { movingAverage, movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'
import { decayOf, type WeightDecayOptions, weightDecayOptions, withWeightDecay } from './weight-decay.js'

/** Options of `radam`; names and defaults are those of `torch.optim.RAdam`. */
export interface RadamOptions extends WeightDecayOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
}

export const radamOptions: OptionSpecs<RadamOptions> = {
  ...adamOptions,
  ...weightDecayOptions,
}

/**
 * RAdam (Liu et al. 2020, arXiv 1908.03265), as `torch.optim.RAdam`; t counts from 1. Until the variance of the second
 * moment is bounded, the step is that of momentum:
 *
 *     g <- g + weightDecay theta                                   unless decoupled
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     R = 2 / (1 - beta2) - 1
 *     r = R - 2 t beta2^t / (1 - beta2^t)
 *     c = sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r))
 *     d = -lr m / (1 - beta1^t) c sqrt(1 - beta2^t) / (sqrt(v) + eps)   if r > 5
 *     d = -lr m / (1 - beta1^t)                                         otherwise
 *     d <- d - lr weightDecay theta                                decoupled
 *
 * @throws OnnxIreError `invalid-option`
 */
export function radam(options: RadamOptions = {}): BaseOptimizer {
  const resolved = readOptions('radam', radamOptions, options)
  const {
    lr,
    betas: [beta1, beta2],
    eps,
    weightDecay,
    decoupled,
  } = resolved
  const limit = 2 / (1 - beta2) - 1
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'radam',
    lr,
    weightDecay,
    options: resolved,
    moments: ['firstMoment', 'secondMoment'],
    formula: radamFormula(decoupled),
    coefficients: (earlier, lr, weightDecay) => {
      const t = earlier + 1
      const correction = 1 - beta2 ** t
      const r = limit - (2 * t * beta2 ** t) / correction
      const step = -lr / (1 - beta1 ** t)
      const rectified = r > 5
      const c = Math.sqrt(((r - 4) * (r - 2) * limit) / ((limit - 4) * (limit - 2) * r))
      return {
        oneMinusBeta1: 1 - beta1,
        oneMinusBeta2: 1 - beta2,
        adaptive: rectified ? step * c * Math.sqrt(correction) : 0,
        plain: rectified ? 0 : step,
        eps,
        decay: decayOf(decoupled, lr, weightDecay),
      }
    },
  })
}

const radamFormula = withWeightDecay((g) => {
  const firstMoment = movingAverage(array('firstMoment'), g, scalar('oneMinusBeta1'))
  const secondMoment = movingSquare(array('secondMoment'), g, scalar('oneMinusBeta2'))
  const factor = scalar('adaptive').div(secondMoment.sqrt().add(scalar('eps')))
  return { d: firstMoment.mul(factor.add(scalar('plain'))), firstMoment, secondMoment }
})
