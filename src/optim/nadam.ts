import { nonNegative } from '../util/check.js'
import { adamOptions } from './adam.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, scalar } from './expr/expr.js'
import { movingAverage, movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'
import { decayOf, type WeightDecayOptions, weightDecayOptions, withWeightDecay } from './weight-decay.js'

/** Options of `nadam`; names and defaults are those of `torch.optim.NAdam`. */
export interface NadamOptions extends WeightDecayOptions {
  /** Learning rate; default 2e-3. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** Speed at which the momentum grows to beta1; default 4e-3. */
  readonly momentumDecay?: number
}

export const nadamOptions: OptionSpecs<NadamOptions> = {
  ...adamOptions,
  lr: { type: 'number', default: 2e-3, range: nonNegative, description: 'the learning rate' },
  momentumDecay: { type: 'number', default: 4e-3, range: nonNegative, description: 'how fast the momentum grows' },
  ...weightDecayOptions,
}

/**
 * NAdam (Dozat 2016), as `torch.optim.NAdam`; t counts from 1, and M is the product of mu_1 to mu_t:
 *
 *     g <- g + weightDecay theta                      unless decoupled
 *     mu_t = beta1 (1 - 0.96^(t momentumDecay) / 2)
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     u = (1 - mu_t) / (1 - M) g + mu_(t + 1) / (1 - M mu_(t + 1)) m
 *     d = -lr u / (sqrt(v / (1 - beta2^t)) + eps)     decoupled: - lr weightDecay theta
 *
 * @throws OnnxIreError `invalid-option`
 */
export function nadam(options: NadamOptions = {}): BaseOptimizer {
  const resolved = readOptions('nadam', nadamOptions, options)
  const {
    lr,
    betas: [beta1, beta2],
    eps,
    momentumDecay,
    weightDecay,
    decoupled,
  } = resolved
  const mu = (t: number) => beta1 * (1 - 0.5 * 0.96 ** (t * momentumDecay))
  /** The product of mu_1 to mu_t; 0 once it makes no difference to 1. */
  const products = [1]
  const productOf = (t: number): number => {
    while (products.length <= t && products.at(-1)! > 1e-20) products.push(products.at(-1)! * mu(products.length))
    return products[t] ?? 0
  }
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'nadam',
    lr,
    weightDecay,
    options: resolved,
    moments: ['firstMoment', 'secondMoment'],
    formula: nadamFormula(decoupled),
    coefficients: (earlier, lr, weightDecay) => {
      const t = earlier + 1
      const r = Math.sqrt(1 - beta2 ** t)
      return {
        oneMinusBeta1: 1 - beta1,
        oneMinusBeta2: 1 - beta2,
        ofGradient: (-lr * r * (1 - mu(t))) / (1 - productOf(t)),
        ofMoment: (-lr * r * mu(t + 1)) / (1 - productOf(t) * mu(t + 1)),
        eps: eps * r,
        decay: decayOf(decoupled, lr, weightDecay),
      }
    },
  })
}

/** Numerator and denominator of d are multiplied by r = sqrt(1 - beta2^t). */
const nadamFormula = withWeightDecay((g) => {
  const firstMoment = movingAverage(array('firstMoment'), g, scalar('oneMinusBeta1'))
  const secondMoment = movingSquare(array('secondMoment'), g, scalar('oneMinusBeta2'))
  const u = g.mul(scalar('ofGradient')).add(firstMoment.mul(scalar('ofMoment')))
  return { d: u.div(secondMoment.sqrt().add(scalar('eps'))), firstMoment, secondMoment }
})
