import { belowOne, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, type Expr, type Formula, formula, scalar } from './expr/expr.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `adam` and `adamw`; names and defaults are those of `torch.optim.Adam` and `AdamW`. */
export interface AdamOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** `adam`: L2, added to the gradient, default 0. `adamw`: decoupled, times lr, default 0.01. */
  readonly weightDecay?: number
}

export const adamOptions: OptionSpecs<AdamOptions> = {
  lr: { type: 'number', default: 1e-3, range: nonNegative, description: 'the learning rate' },
  betas: {
    type: 'numbers',
    default: [0.9, 0.999],
    range: belowOne,
    allowed: 'two numbers in [0, 1)',
    description: 'the decay rates of the two moments, from 0 to below 1',
  },
  eps: { type: 'number', default: 1e-8, range: nonNegative, description: 'added to the root of the second moment' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, added to the gradient' },
}

export const adamwOptions: OptionSpecs<AdamOptions> = {
  ...adamOptions,
  weightDecay: { type: 'number', default: 0.01, range: nonNegative, description: 'decoupled weight decay, times lr' },
}

/**
 * Adam (Kingma & Ba 2015, arXiv 1412.6980), exactly as `torch.optim.Adam`; t counts from 1:
 *
 *     g <- g + weightDecay theta
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     d = -lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * @throws 'invalid-option'
 */
export function adam(options: AdamOptions = {}): BaseOptimizer {
  const { lr, betas, eps, weightDecay } = readOptions('adam', adamOptions, options)
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adam',
    lr,
    weightDecay,
    options: Object.freeze({ lr, betas, eps, weightDecay }),
    moments: ['firstMoment', 'secondMoment'],
    formula: adamFormula,
    coefficients: (t, lr, weightDecay) => ({ ...adamCoefficients(t, lr, betas, eps), weightDecay }),
  })
}

/**
 * AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), exactly as `torch.optim.AdamW`: Adam without weight decay in the
 * gradient, and with it in the displacement,
 *
 *     d = -lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) - lr weightDecay theta
 *
 * @throws 'invalid-option'
 */
export function adamw(options: AdamOptions = {}): BaseOptimizer {
  const { lr, betas, eps, weightDecay } = readOptions('adamw', adamwOptions, options)
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adamw',
    lr,
    weightDecay,
    options: Object.freeze({ lr, betas, eps, weightDecay }),
    moments: ['firstMoment', 'secondMoment'],
    formula: adamwFormula,
    coefficients: (t, lr, weightDecay) => ({ ...adamCoefficients(t, lr, betas, eps), decay: lr * weightDecay }),
  })
}

const [theta, g] = [array('theta'), array('g')]
const [m, v] = [array('firstMoment'), array('secondMoment')]
const [oneMinusBeta1, oneMinusBeta2] = [scalar('oneMinusBeta1'), scalar('oneMinusBeta2')]

/**
 * The moments and the displacement for the gradient g.
 *
 * beta x is written x - (1 - beta) x: float32 keeps the digits of 1 - beta, but not those of a beta near 1. g^2 is
 * multiplied factor by factor, so that it overflows no earlier than the moment itself.
 */
function adamStep(g: Expr) {
  const firstMoment = m.add(g.sub(m).mul(oneMinusBeta1))
  const secondMoment = v.sub(v.mul(oneMinusBeta2)).add(g.mul(oneMinusBeta2).mul(g))
  const d = firstMoment.mul(scalar('stepSize')).div(secondMoment.sqrt().add(scalar('eps')))
  return { d, firstMoment, secondMoment }
}

const adamFormula: Formula = formula(adamStep(g.add(theta.mul(scalar('weightDecay')))))

const { d, ...moments } = adamStep(g)
const adamwFormula: Formula = formula({ d: d.sub(theta.mul(scalar('decay'))), ...moments })

/**
 * The scalars of update t, from 0. Numerator and denominator of d are multiplied by r = sqrt(1 - beta2^(t + 1)):
 *
 *     stepSize = -lr r / (1 - beta1^(t + 1)), eps <- eps r
 */
function adamCoefficients(t: number, lr: number, [beta1, beta2]: readonly [number, number], eps: number) {
  const r = Math.sqrt(1 - beta2 ** (t + 1))
  const stepSize = (-lr * r) / (1 - beta1 ** (t + 1))
  return { oneMinusBeta1: 1 - beta1, oneMinusBeta2: 1 - beta2, stepSize, eps: eps * r }
}
