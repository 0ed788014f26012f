import { belowOne, checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { add, array, div, type Expr, type Formula, formula, mul, scalar, sqrt, sub } from './expr/expr.js'

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
export const adam = (options: AdamOptions = {}): BaseOptimizer => create('adam', options, 0)

/**
 * AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), exactly as `torch.optim.AdamW`: Adam without the first line, and
 * d has the additional term -lr weightDecay theta.
 *
 * @throws 'invalid-option'
 */
export const adamw = (options: AdamOptions = {}): BaseOptimizer => create('adamw', options, 0.01)

function create(name: 'adam' | 'adamw', options: AdamOptions, defaultDecay: number): BaseOptimizer {
  checkNames(name, options, ['lr', 'betas', 'eps', 'weightDecay'])
  const base = checkNumber(name, 'lr', options.lr ?? 1e-3, nonNegative)
  const betas = options.betas ?? [0.9, 0.999]
  if (!Array.isArray(betas) || betas.length !== 2) throw invalidOption(name, 'betas', betas, 'two numbers in [0, 1)')
  const beta1 = checkNumber(name, 'betas[0]', betas[0], belowOne)
  const beta2 = checkNumber(name, 'betas[1]', betas[1], belowOne)
  const eps = checkNumber(name, 'eps', options.eps ?? 1e-8, nonNegative)
  const decay = checkNumber(name, 'weightDecay', options.weightDecay ?? defaultDecay, nonNegative)

  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name,
    lr: base,
    weightDecay: decay,
    options: Object.freeze({ lr: base, betas: Object.freeze([beta1, beta2]), eps, weightDecay: decay }),
    moments: ['firstMoment', 'secondMoment'],
    formula: name === 'adam' ? coupled : decoupled,
    coefficients: (t, lr, weightDecay) => {
      // Both sides of the fraction times r = sqrt(1 - beta2^t): rate m / (sqrt(v) + eps r), a factor less per element.
      const root = Math.sqrt(1 - beta2 ** (t + 1))
      const rate = (-lr * root) / (1 - beta1 ** (t + 1))
      const decay = name === 'adam' ? { l2: weightDecay } : { shrink: lr * weightDecay }
      return { take1: 1 - beta1, take2: 1 - beta2, rate, eps: eps * root, ...decay }
    },
  })
}

const theta = array('theta')
const g = array('g')

/** With weight decay as a term of the gradient. */
const coupled = adamFormula(add(g, mul(scalar('l2'), theta)), (d) => d)

/** With weight decay as a term of d. */
const decoupled = adamFormula(g, (d) => sub(d, mul(scalar('shrink'), theta)))

/**
 * beta x is written x - (1 - beta) x: single precision holds the digits of 1 - beta, but not those of a beta close to 1.
 * g^2 is taken factor by factor, so that it overflows no earlier than what is kept of it.
 */
function adamFormula(g: Expr, decayed: (d: Expr) => Expr): Formula {
  const [m, v, take1, take2] = [array('firstMoment'), array('secondMoment'), scalar('take1'), scalar('take2')]
  const firstMoment = add(m, mul(take1, sub(g, m)))
  const secondMoment = add(sub(v, mul(take2, v)), mul(mul(take2, g), g))
  const d = div(mul(scalar('rate'), firstMoment), add(sqrt(secondMoment), scalar('eps')))
  return formula({ d: decayed(d), firstMoment, secondMoment })
}
