import { invalidOption, nonNegative } from '../util/check.js'
import { adamOptions } from './adam.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, formula, scalar } from './expr/expr.js'
import { movingAverage, movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `prodigy`; defaults are those of the authors' `prodigyopt`. */
export interface ProdigyOptions {
  /** Factor on the estimated step size; default 1, which rarely needs a change. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment, times the estimated distance; default 1e-8. */
  readonly eps?: number
  /** Decoupled, times the step size; default 0. */
  readonly weightDecay?: number
  /** First estimate of the distance to the solution, above 0; default 1e-6. Only its order of magnitude matters. */
  readonly d0?: number
  /** Factor on every estimate; default 1. */
  readonly dCoefficient?: number
  /** Correct the step size for moments that start at zero, as Adam; default false. */
  readonly biasCorrection?: boolean
  /** Keep a warm-up of the learning rate from enlarging the estimate; default false. */
  readonly safeguardWarmup?: boolean
}

export const prodigyOptions: OptionSpecs<ProdigyOptions> = {
  ...adamOptions,
  lr: { type: 'number', default: 1, range: nonNegative, description: 'the factor on the estimated step size' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'decoupled, times the step size' },
  d0: { type: 'number', default: 1e-6, range: nonNegative, description: 'the first estimate of the distance' },
  dCoefficient: { type: 'number', default: 1, range: nonNegative, description: 'the factor on every estimate' },
  biasCorrection: { type: 'boolean', default: false, description: 'whether the start of the moments is corrected' },
  safeguardWarmup: {
    type: 'boolean',
    default: false,
    description: 'whether a warm-up is kept from enlarging the estimate',
  },
}

/**
 * Prodigy (Mishchenko & Defazio 2023, arXiv 2306.06101, algorithm 4): Adam whose step size D is an estimate of the
 * distance between the initial weights x0 and the solution. With b = sqrt(beta2), and sums over all tensors:
 *
 *     s = D lr                        biasCorrection: times sqrt(1 - beta2^t) / (1 - beta1^t)
 *     m <- beta1 m + (1 - beta1) D g
 *     v <- beta2 v + (1 - beta2) D^2 g^2
 *     q <- b q + (D / d0) s g         safeguardWarmup: (D / d0) D g
 *     d = -s m / (sqrt(v) + D eps) - s weightDecay theta
 *     r <- b r + (D / d0) s sum(g (x0 - theta))
 *     D <- max(D, dCoefficient r / sum(abs(q)))          for the next step
 *
 * The state is m, v, q and theta - x0. With IRE, theta is the enhanced one, and so is the distance.
 * @throws OnnxIreError `invalid-option`
 */
export function prodigy(options: ProdigyOptions = {}): BaseOptimizer {
  const resolved = readOptions('prodigy', prodigyOptions, options)
  const {
    lr,
    betas: [beta1, beta2],
    eps,
    weightDecay,
    d0,
    dCoefficient,
    biasCorrection,
    safeguardWarmup,
  } = resolved
  if (d0 === 0) throw invalidOption('prodigy', 'd0', d0, 'a number > 0')
  const decay = Math.sqrt(beta2)
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'prodigy',
    lr,
    weightDecay,
    options: resolved,
    moments: ['firstMoment', 'secondMoment', 'gradientSum', 'offset'],
    formula: prodigyFormula,
    estimate: {
      initial: { distance: d0, numerator: 0 },
      next: ({ distance, numerator }, { above, below, length }) => {
        const next = decay * numerator! + above! - below!
        const estimated = length! > 0 ? (dCoefficient * next) / length! : 0
        return { distance: Math.max(distance!, estimated), numerator: next }
      },
    },
    coefficients: (earlier, lr, weightDecay, { distance }) => {
      const t = earlier + 1
      const step = distance! * lr * (biasCorrection ? Math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t) : 1)
      const weight = distance! / d0
      return {
        distance: distance!,
        oneMinusBeta1: 1 - beta1,
        oneMinusBeta2: 1 - beta2,
        kept: decay,
        taken: weight * (safeguardWarmup ? distance! : step),
        weight: weight * step,
        step,
        eps: distance! * eps,
        decay: step * weightDecay,
      }
    },
  })
}

const [theta, g, offset] = [array('theta'), array('g'), array('offset')]
const scaled = g.mul(scalar('distance'))
const firstMoment = movingAverage(array('firstMoment'), scaled, scalar('oneMinusBeta1'))
const secondMoment = movingSquare(array('secondMoment'), scaled, scalar('oneMinusBeta2'))
const gradientSum = array('gradientSum')
  .mul(scalar('kept'))
  .add(g.mul(scalar('taken')))
const displacement = firstMoment
  .mul(scalar('step'))
  .div(secondMoment.sqrt().add(scalar('eps')))
  .add(theta.mul(scalar('decay')))
  .negate()
  .mul(array('enhancement'))
const descent = g.mul(offset).mul(scalar('weight')).negate()

/** Sums of squares of roots are sums: of the positive and of the negative summands of r, and of the magnitudes of q. */
const prodigyFormula = formula(
  { d: displacement, firstMoment, secondMoment, gradientSum, offset: offset.add(displacement) },
  { above: descent.max(0).sqrt(), below: descent.negate().max(0).sqrt(), length: gradientSum.abs().sqrt() },
)
