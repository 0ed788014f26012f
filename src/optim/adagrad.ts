import { nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, formula, scalar } from './expr/expr.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `adagrad`; names and defaults are those of `torch.optim.Adagrad`. */
export interface AdagradOptions {
  /** Learning rate; default 0.01. */
  readonly lr?: number
  /** The learning rate of update t, from 0, is lr / (1 + t lrDecay); default 0. */
  readonly lrDecay?: number
  /** Start of the sum of squares; default 0. */
  readonly initialAccumulator?: number
  /** Added to the root of the sum; default 1e-10. */
  readonly eps?: number
  /** L2: weightDecay * theta is added to the gradient; default 0. */
  readonly weightDecay?: number
}

export const adagradOptions: OptionSpecs<AdagradOptions> = {
  lr: { type: 'number', default: 0.01, range: nonNegative, description: 'the learning rate' },
  lrDecay: { type: 'number', default: 0, range: nonNegative, description: 'the decay of the learning rate' },
  initialAccumulator: {
    type: 'number',
    default: 0,
    range: nonNegative,
    description: 'the start of the sum of squares',
  },
  eps: { type: 'number', default: 1e-10, range: nonNegative, description: 'added to the root of the sum' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, added to the gradient' },
}

/**
 * Adagrad (Duchi et al. 2011), as `torch.optim.Adagrad`; t counts from 0:
 *
 *     g <- g + weightDecay theta
 *     s <- s + g^2
 *     d = -lr / (1 + t lrDecay) g / (sqrt(initialAccumulator + s) + eps)
 *
 * @throws OnnxIreError `invalid-option`
 */
export function adagrad(options: AdagradOptions = {}): BaseOptimizer {
  const resolved = readOptions('adagrad', adagradOptions, options)
  const { lr, lrDecay, initialAccumulator: start, eps, weightDecay } = resolved
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adagrad',
    lr,
    weightDecay,
    options: resolved,
    moments: ['squareSum'],
    formula: adagradFormula,
    coefficients: (t, lr, weightDecay) => ({ lr: lr / (1 + t * lrDecay), start, eps, weightDecay }),
  })
}

const g = array('g').add(array('theta').mul(scalar('weightDecay')))
const squareSum = array('squareSum').add(g.mul(g))

const adagradFormula = formula({
  d: g
    .mul(scalar('lr'))
    .div(squareSum.add(scalar('start')).sqrt().add(scalar('eps')))
    .negate(),
  squareSum,
})
