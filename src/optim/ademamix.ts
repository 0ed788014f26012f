import { belowOne, count, nonNegative } from '../util/check.js'
import { adamOptions } from './adam.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, formula, scalar } from './expr/expr.js'
import { movingAverage, movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `ademamix`; defaults are those of `optax.contrib.ademamix`. */
export interface AdemamixOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay rates of fast, second and slow moment, each in [0, 1); default [0.9, 0.999, 0.9999]. */
  readonly betas?: readonly [number, number, number]
  /** Weight of the slow moment; default 5. */
  readonly alpha?: number
  /** Updates over which alpha grows from 0; default 0. The paper takes the length of the run. */
  readonly alphaWarmup?: number
  /** Updates over which the decay of the slow moment grows from the fast one's; default 0. As `alphaWarmup`. */
  readonly beta3Warmup?: number
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** Decoupled, times lr; default 0. */
  readonly weightDecay?: number
}

export const ademamixOptions: OptionSpecs<AdemamixOptions> = {
  ...adamOptions,
  betas: {
    type: 'numbers',
    default: [0.9, 0.999, 0.9999],
    range: belowOne,
    allowed: 'three numbers in [0, 1)',
    description: 'the decay rates of the fast, the second and the slow moment, from 0 to below 1',
  },
  alpha: { type: 'number', default: 5, range: nonNegative, description: 'the weight of the slow moment' },
  alphaWarmup: { type: 'number', default: 0, range: count, description: 'the updates over which alpha grows' },
  beta3Warmup: { type: 'number', default: 0, range: count, description: 'the updates over which beta3 grows' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'decoupled weight decay, times lr' },
}

/**
 * AdEMAMix (Pagliardini et al. 2024, arXiv 2409.03137), with the warm-ups of its section 3; t counts from 1:
 *
 *     m1 <- beta1 m1 + (1 - beta1) g
 *     m2 <- b m2 + (1 - b) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     d = -lr ((m1 / (1 - beta1^t) + a m2) / (sqrt(v / (1 - beta2^t)) + eps) + weightDecay theta)
 *
 * with a = min(1, t / alphaWarmup) alpha, and b between beta1 and beta3 such that its half-life, proportional to
 * 1 / ln(1 / b), grows linearly over beta3Warmup updates.
 * @throws OnnxIreError `invalid-option`
 */
export function ademamix(options: AdemamixOptions = {}): BaseOptimizer {
  const resolved = readOptions('ademamix', ademamixOptions, options)
  const {
    lr,
    betas: [beta1, beta2, beta3],
    alpha,
    alphaWarmup,
    beta3Warmup,
    eps,
    weightDecay,
  } = resolved
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'ademamix',
    lr,
    weightDecay,
    options: resolved,
    moments: ['firstMoment', 'slowMoment', 'secondMoment'],
    formula: ademamixFormula,
    coefficients: (earlier, lr, weightDecay) => {
      const t = earlier + 1
      const r = Math.sqrt(1 - beta2 ** t)
      return {
        oneMinusBeta1: 1 - beta1,
        oneMinusBeta2: 1 - beta2,
        oneMinusBeta3: 1 - (t < beta3Warmup ? interpolateDecay(beta1, beta3, t / beta3Warmup) : beta3),
        ofFast: (-lr * r) / (1 - beta1 ** t),
        ofSlow: -lr * r * alpha * (t < alphaWarmup ? t / alphaWarmup : 1),
        eps: eps * r,
        decay: lr * weightDecay,
      }
    },
  })
}

/** exp(1 / ((1 - s) / ln a + s / ln b)) for rates a and b and a share s of the way: linear in 1 / ln, which is 0 for 0. */
const interpolateDecay = (from: number, to: number, share: number): number =>
  Math.exp(1 / ((1 - share) / Math.log(from) + share / Math.log(to)))

const [theta, g] = [array('theta'), array('g')]
const firstMoment = movingAverage(array('firstMoment'), g, scalar('oneMinusBeta1'))
const slowMoment = movingAverage(array('slowMoment'), g, scalar('oneMinusBeta3'))
const secondMoment = movingSquare(array('secondMoment'), g, scalar('oneMinusBeta2'))

/** Numerator and denominator of d are multiplied by r = sqrt(1 - beta2^t). */
const ademamixFormula = formula({
  d: firstMoment
    .mul(scalar('ofFast'))
    .add(slowMoment.mul(scalar('ofSlow')))
    .div(secondMoment.sqrt().add(scalar('eps')))
    .sub(theta.mul(scalar('decay'))),
  firstMoment,
  slowMoment,
  secondMoment,
})
