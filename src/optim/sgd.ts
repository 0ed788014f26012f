import { invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, formula, scalar } from './expr/expr.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `sgd`; names and defaults are those of `torch.optim.SGD`. */
export interface SgdOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay of the momentum buffer. Default 0. */
  readonly momentum?: number
  /** The momentum buffer takes (1 - dampening) g, except on the first step, where it takes g; default 0. */
  readonly dampening?: number
  /** Nesterov momentum, which needs momentum > 0 and dampening 0. Default false. */
  readonly nesterov?: boolean
  /** L2: weightDecay * theta is added to the gradient; default 0. */
  readonly weightDecay?: number
}

export const sgdOptions: OptionSpecs<SgdOptions> = {
  lr: { type: 'number', default: 1e-3, range: nonNegative, description: 'the learning rate' },
  momentum: { type: 'number', default: 0, range: nonNegative, description: 'the decay of the momentum buffer' },
  dampening: { type: 'number', default: 0, range: nonNegative, description: 'the buffer takes (1 - dampening) g' },
  nesterov: { type: 'boolean', default: false, description: 'Nesterov momentum' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, added to the gradient' },
}

/**
 * Stochastic gradient descent, exactly as `torch.optim.SGD`:
 *
 *     g <- g + weightDecay theta
 *     b <- g on the first step, then momentum b + (1 - dampening) g
 *     d = -lr (nesterov ? g + momentum b : b)
 *
 * @throws OnnxIreError `invalid-option`
 */
export function sgd(options: SgdOptions = {}): BaseOptimizer {
  const resolved = readOptions('sgd', sgdOptions, options)
  const { lr, momentum, dampening, nesterov, weightDecay } = resolved
  if (nesterov && (momentum === 0 || dampening !== 0))
    throw invalidOption('sgd', 'nesterov', nesterov, 'false unless momentum > 0 and dampening is 0')
  const hasMomentum = momentum !== 0

  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'sgd',
    lr,
    weightDecay,
    options: resolved,
    moments: hasMomentum ? ['momentum'] : [],
    formula: !hasMomentum ? plainFormula : nesterov ? nesterovFormula : momentumFormula,
    coefficients: (t, lr, weightDecay) => {
      if (!hasMomentum) return { lr, weightDecay }
      const [keep, take] = t === 0 ? [0, 1] : [momentum, 1 - dampening]
      return { lr, weightDecay, keep, take, ...(nesterov ? { momentum } : {}) }
    },
  })
}

const [theta, g, b, lr] = [array('theta'), array('g'), array('momentum'), scalar('lr')]
const decayed = g.add(theta.mul(scalar('weightDecay')))
const buffer = b.mul(scalar('keep')).add(decayed.mul(scalar('take')))

const plainFormula = formula({ d: decayed.mul(lr).negate() })
const momentumFormula = formula({ d: buffer.mul(lr).negate(), momentum: buffer })
const nesterovFormula = formula({
  d: decayed
    .add(buffer.mul(scalar('momentum')))
    .mul(lr)
    .negate(),
  momentum: buffer,
})
