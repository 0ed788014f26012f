import { checkBoolean, checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { add, array, type Expr, formula, mul, scalar, sub } from './expr/expr.js'

/** Options of `sgd`; names and defaults are those of `torch.optim.SGD`. */
export interface SgdOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Default 0. */
  readonly momentum?: number
  /** The momentum buffer takes (1 - dampening) g, except on the first step, where it takes g; default 0. */
  readonly dampening?: number
  /** Default false; needs momentum > 0 and dampening 0. */
  readonly nesterov?: boolean
  /** L2: weightDecay * theta is added to the gradient; default 0. */
  readonly weightDecay?: number
}

/**
 * Stochastic gradient descent, exactly as `torch.optim.SGD`:
 *
 *     g <- g + weightDecay theta
 *     b <- g on the first step, then momentum b + (1 - dampening) g
 *     d = -lr (nesterov ? g + momentum b : b)
 *
 * @throws 'invalid-option'
 */
export function sgd(options: SgdOptions = {}): BaseOptimizer {
  checkNames('sgd', options, ['lr', 'momentum', 'dampening', 'nesterov', 'weightDecay'])
  const base = checkNumber('sgd', 'lr', options.lr ?? 1e-3, nonNegative)
  const momentum = checkNumber('sgd', 'momentum', options.momentum ?? 0, nonNegative)
  const dampening = checkNumber('sgd', 'dampening', options.dampening ?? 0, nonNegative)
  const nesterov = checkBoolean('sgd', 'nesterov', options.nesterov ?? false)
  const decay = checkNumber('sgd', 'weightDecay', options.weightDecay ?? 0, nonNegative)
  if (nesterov && (momentum === 0 || dampening !== 0))
    throw invalidOption('sgd', 'nesterov', nesterov, 'false unless momentum > 0 and dampening is 0')

  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'sgd',
    lr: base,
    weightDecay: decay,
    options: Object.freeze({ lr: base, momentum, dampening, nesterov, weightDecay: decay }),
    moments: momentum === 0 ? [] : ['momentum'],
    formula: momentum === 0 ? plain : nesterov ? accelerated : heavyBall,
    coefficients: (t, lr, weightDecay) => {
      if (momentum === 0) return { lr, weightDecay }
      const [keep, take] = t === 0 ? [0, 1] : [momentum, 1 - dampening]
      return { lr, weightDecay, keep, take, ...(nesterov ? { momentum } : {}) }
    },
  })
}

const decayed = add(array('g'), mul(scalar('weightDecay'), array('theta')))
const buffer = add(mul(scalar('keep'), array('momentum')), mul(scalar('take'), decayed))
const against = (direction: Expr): Expr => sub(0, mul(scalar('lr'), direction))

const plain = formula({ d: against(decayed) })
const heavyBall = formula({ d: against(buffer), momentum: buffer })
const accelerated = formula({ d: against(add(decayed, mul(scalar('momentum'), buffer))), momentum: buffer })
