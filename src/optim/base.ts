import type { Formula } from '../formula/formula.js'

/**
 * A base optimizer: from gradients to the displacement d_t of plain training, theta <- theta + d_t, with learning rate,
 * momentum, preconditioning and weight decay included. It never writes the parameters itself, so that `sam` and
 * `ire` can wrap any of them. It is a formula rather than code, so that it runs wherever the parameters are. Write your
 * own by giving these fields.
 *
 * @example Descent by the sign of the gradient, with the terms of `term`:
 *
 *     {
 *       kind: 'base', name: 'sign', lr: 1e-3, weightDecay: 0, options: {}, moments: [],
 *       formula: formula({ d: mul(scalar('down'), sign(array('g'))) }),
 *       factors: (t, lr) => ({ down: -lr }),
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
   * and the moments, and from the scalars that `factors` gives. The same object at every step. It is computed in the
   * precision of the parameters. The names n, kappa, limit and scale are the step's.
   */
  readonly formula: Formula
  /**
   * The scalars of `formula` for one update of one tensor.
   * @param t how many updates of this tensor came before, from 0
   * @param lr the learning rate of this update and tensor
   * @param weightDecay the weight decay of this tensor
   */
  factors(t: number, lr: number, weightDecay: number): Readonly<Record<string, number>>
}
