import { belowOne, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, formula, scalar } from './expr/expr.js'
import { movingAverage } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `lion`; names and defaults are those of the authors' code. */
export interface LionOptions {
  /** Learning rate; default 1e-4. A third to a tenth of AdamW's is usual. */
  readonly lr?: number
  /** Weights of the momentum in the update and in the next momentum, each in [0, 1); default [0.9, 0.99]. */
  readonly betas?: readonly [number, number]
  /** Decoupled, times lr; default 0. Three to ten times AdamW's is usual. */
  readonly weightDecay?: number
}

export const lionOptions: OptionSpecs<LionOptions> = {
  lr: { type: 'number', default: 1e-4, range: nonNegative, description: 'the learning rate' },
  betas: {
    type: 'numbers',
    default: [0.9, 0.99],
    range: belowOne,
    allowed: 'two numbers in [0, 1)',
    description: 'the weights of the momentum in the update and in the next momentum',
  },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'decoupled weight decay, times lr' },
}

/**
 * Lion (Chen et al. 2023, arXiv 2302.06675), as the authors' `lion_pytorch.py` and `optax.lion`; sign(0) = 0:
 *
 *     c = beta1 m + (1 - beta1) g
 *     d = -lr (sign(c) + weightDecay theta)
 *     m <- beta2 m + (1 - beta2) g
 *
 * One array of state, half of Adam's.
 * @throws OnnxIreError `invalid-option`
 */
export function lion(options: LionOptions = {}): BaseOptimizer {
  const resolved = readOptions('lion', lionOptions, options)
  const [beta1, beta2] = resolved.betas
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'lion',
    lr: resolved.lr,
    weightDecay: resolved.weightDecay,
    options: resolved,
    moments: ['momentum'],
    formula: lionFormula,
    coefficients: (_, lr, weightDecay) => ({
      lr,
      decay: lr * weightDecay,
      oneMinusBeta1: 1 - beta1,
      oneMinusBeta2: 1 - beta2,
    }),
  })
}

const [theta, g, m] = [array('theta'), array('g'), array('momentum')]
const direction = movingAverage(m, g, scalar('oneMinusBeta1')).sign()

const lionFormula = formula({
  d: direction
    .mul(scalar('lr'))
    .add(theta.mul(scalar('decay')))
    .negate(),
  momentum: movingAverage(m, g, scalar('oneMinusBeta2')),
})
