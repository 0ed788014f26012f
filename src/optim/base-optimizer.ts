import { OnnxIreError } from '../util/errors.js'
import type { Formula } from './expr/expr.js'

/**
 * A base optimizer: from gradients to the displacement d_t of plain training, theta <- theta + d_t, with learning rate,
 * momentum, preconditioning and weight decay included. It never writes the parameters itself, so that `sam` and
 * `ire` can wrap any of them. It is a formula rather than code, so that it runs wherever the parameters are. Write your
 * own by giving these fields.
 *
 * @example Descent by the sign of the gradient, with the namespace `expr`:
 *
 *     {
 *       kind: 'base', name: 'sign', lr: 1e-3, weightDecay: 0, options: {}, moments: [],
 *       formula: formula({ d: mul(scalar('down'), sign(array('g'))) }),
 *       coefficients: (t, lr) => ({ down: -lr }),
 *     }
 */
export interface BaseOptimizer {
  readonly kind: 'base'
  /** For messages and checkpoints: 'sgd', 'adam', 'adamw'. */
  readonly name: string
  /** The base learning rate, which a schedule's factor multiplies. */
  readonly lr: number
  /** The base weight decay, which a tensor's settings may replace; 0 for an optimizer that knows none. */
  readonly weightDecay: number
  /** Every option with its default filled in; plain data. */
  readonly options: Readonly<Record<string, number | boolean | readonly number[]>>
  /** The names of the arrays kept per parameter, all zero at first. */
  readonly moments: readonly string[]
  /**
   * The displacement `d` and the next value of every moment, from the arrays `theta`, `g` (the gradient, already clipped)
   * and the moments, and from the scalars that `coefficients` gives. The same object at every step. It is computed in the
   * precision of the parameters. The names n, kappa, limit and scale are the step's.
   */
  readonly formula: Formula
  /**
   * The scalars of `formula` for one update of one tensor.
   * @param t how many updates of this tensor came before, from 0
   * @param lr the learning rate of this update and tensor
   * @param weightDecay the weight decay of this tensor
   */
  coefficients(t: number, lr: number, weightDecay: number): Readonly<Record<string, number>>
}

const checked = new WeakSet<BaseOptimizer>()

/** What the update adds to a base optimizer's formula. */
const reserved: readonly string[] = ['n', 'd', 'kappa', 'limit', 'scale']

/** Refuses, as 'invalid-option', a base optimizer whose formula does not fit what else it says of itself. */
export function checkBaseOptimizer(base: BaseOptimizer): void {
  if (checked.has(base)) return
  const { name, formula, moments } = base
  const refuse = (fault: string, remedy: string): never => {
    throw new OnnxIreError('invalid-option', `optimizer '${name}': ${fault}; ${remedy}`)
  }
  const results = ['d', ...moments]
  const readable = ['theta', 'g', ...moments]
  for (const result of results)
    if (!Object.hasOwn(formula.outputs, result))
      refuse(`its formula has no '${result}'`, `it gives ${results.join(', ')}`)
  for (const output of Object.keys(formula.outputs))
    if (!results.includes(output)) refuse(`its formula gives '${output}'`, `it may give ${results.join(', ')}`)
  for (const array of formula.arrays)
    if (!readable.includes(array)) refuse(`its formula reads '${array}'`, `it may read ${readable.join(', ')}`)
  if (Object.keys(formula.squares).length > 0) refuse('its formula has sums', 'an update has none')
  for (const own of [...moments, ...formula.scalars])
    if (reserved.includes(own)) refuse(`'${own}' is a name of its own`, 'the step uses it: choose another one')
  for (const moment of moments)
    if (moment === 'theta' || moment === 'g') refuse(`'${moment}' is a moment`, 'it is the name of something else')
  checked.add(base)
}

/**
 * The scalars of a base optimizer's formula for one update.
 * @throws 'invalid-option' when one of them is missing or not a finite number
 */
export function coefficientsOf(base: BaseOptimizer, t: number, lr: number, weightDecay: number) {
  const factors = base.coefficients(t, lr, weightDecay)
  for (const scalar of base.formula.scalars)
    if (!Number.isFinite(factors[scalar]))
      throw new OnnxIreError(
        'invalid-option',
        `optimizer '${base.name}': the coefficient '${scalar}' of update ${t} is ${factors[scalar]}; it must be a finite number`,
      )
  return factors
}
