import type { FloatArray } from './arrays.js'

/**
 * Writes the displacements of elements `from` .. `to - 1` of one tensor to `d[0 .. to - from - 1]` and advances the
 * moments of those elements.
 * @param d scratch, in double precision
 * @param theta the parameter, read only
 * @param g its gradient, read only
 * @param moments one array per name in `BaseOptimizer.moments`, as long as `theta`; updated in place
 */
export type Displacement = (
  d: Float64Array,
  theta: FloatArray,
  g: FloatArray,
  moments: readonly FloatArray[],
  from: number,
  to: number,
) => void

/**
 * A base optimizer: from gradients to the displacement d_t of plain training, theta <- theta + d_t, with learning rate,
 * momentum, preconditioning and weight decay included. It never writes the parameters itself, so that `sam` and
 * `ire` can wrap any of them. Write your own by giving these fields.
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
   * The displacement of one update of one tensor.
   * @param t how many updates of this tensor came before, from 0
   * @param lr the learning rate of this update and tensor
   * @param scale the factor on the gradient: 1, or less when it is clipped
   * @param weightDecay the weight decay of this tensor
   */
  displacement(t: number, lr: number, scale: number, weightDecay: number): Displacement
}
