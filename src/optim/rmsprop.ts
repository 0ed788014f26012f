import { belowOne, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, type Formula, formula, scalar } from './expr/expr.js'
import { movingAverage, movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `rmsprop`; names and defaults are those of `torch.optim.RMSprop`. */
export interface RmspropOptions {
  /** Learning rate; default 0.01. */
  readonly lr?: number
  /** Decay rate of the averages, in [0, 1); default 0.99. */
  readonly alpha?: number
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** Decay of a buffer of scaled gradients; default 0, without the buffer. */
  readonly momentum?: number
  /** Divide by the standard deviation of the gradient instead of its root mean square; default false. */
  readonly centered?: boolean
  /** L2: weightDecay * theta is added to the gradient; default 0. */
  readonly weightDecay?: number
}

export const rmspropOptions: OptionSpecs<RmspropOptions> = {
  lr: { type: 'number', default: 0.01, range: nonNegative, description: 'the learning rate' },
  alpha: { type: 'number', default: 0.99, range: belowOne, description: 'the decay rate of the averages' },
  eps: { type: 'number', default: 1e-8, range: nonNegative, description: 'added to the root of the second moment' },
  momentum: { type: 'number', default: 0, range: nonNegative, description: 'the decay of the momentum buffer' },
  centered: { type: 'boolean', default: false, description: 'whether to divide by the standard deviation' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, added to the gradient' },
}

/**
 * RMSprop (Hinton 2012; Graves 2013, arXiv 1308.0850, if centered), as `torch.optim.RMSprop`:
 *
 *     g <- g + weightDecay theta
 *     v <- alpha v + (1 - alpha) g^2
 *     a <- alpha a + (1 - alpha) g                  centered
 *     u = g / (sqrt(v - a^2) + eps)                 a = 0 unless centered
 *     b <- momentum b + u
 *     d = -lr b                                     -lr u without momentum
 *
 * v - a^2 below 0, which only rounding produces, counts as 0; PyTorch returns NaN then.
 * @throws OnnxIreError `invalid-option`
 */
export function rmsprop(options: RmspropOptions = {}): BaseOptimizer {
  const resolved = readOptions('rmsprop', rmspropOptions, options)
  const { lr, alpha, eps, momentum, centered, weightDecay } = resolved
  const hasMomentum = momentum !== 0
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'rmsprop',
    lr,
    weightDecay,
    options: resolved,
    moments: ['secondMoment', ...(centered ? ['firstMoment'] : []), ...(hasMomentum ? ['momentum'] : [])],
    formula: formulas[`${centered} ${hasMomentum}`],
    coefficients: (_, lr, weightDecay) => ({ lr, weightDecay, eps, momentum, oneMinusAlpha: 1 - alpha }),
  })
}

function buildFormula(centered: boolean, hasMomentum: boolean): Formula {
  const oneMinusAlpha = scalar('oneMinusAlpha')
  const g = array('g').add(array('theta').mul(scalar('weightDecay')))
  const secondMoment = movingSquare(array('secondMoment'), g, oneMinusAlpha)
  const firstMoment = movingAverage(array('firstMoment'), g, oneMinusAlpha)
  const variance = centered ? secondMoment.sub(firstMoment.mul(firstMoment)).max(0) : secondMoment
  const u = g.div(variance.sqrt().add(scalar('eps')))
  const momentum = hasMomentum ? array('momentum').mul(scalar('momentum')).add(u) : u
  return formula({
    d: momentum.mul(scalar('lr')).negate(),
    secondMoment,
    ...(centered ? { firstMoment } : {}),
    ...(hasMomentum ? { momentum } : {}),
  })
}

const formulas: Readonly<Record<`${boolean} ${boolean}`, Formula>> = {
  'false false': buildFormula(false, false),
  'false true': buildFormula(false, true),
  'true false': buildFormula(true, false),
  'true true': buildFormula(true, true),
}
