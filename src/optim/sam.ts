import { checkBoolean, checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'

/** Options of `sam`. */
export interface SamOptions {
  /** The length of the ascent; default 0.05. */
  readonly rho?: number
  /** Scale the ascent by the parameters (Kwon et al. 2021, arXiv 2102.11600); default false. */
  readonly adaptive?: boolean
}

/** A base optimizer that is given the gradient at the top of a small ascent. */
export interface SamOptimizer {
  readonly kind: 'sam'
  readonly base: BaseOptimizer
  readonly rho: number
  readonly adaptive: boolean
}

/**
 * Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412): two gradients per step, the second at theta + e,
 *
 *     e = rho g / (||g|| + 1e-12)                          with the norm of all tensors together
 *     e = rho theta^2 g / (||abs(theta) g|| + 1e-12)       adaptive
 *
 * @throws 'invalid-option'
 */
export function sam(base: BaseOptimizer, options: SamOptions = {}): SamOptimizer {
  if (base.kind !== 'base') throw invalidOption('sam', 'base', base.kind, 'a base optimizer; write ire(sam(sgd()))')
  checkNames('sam', options, ['rho', 'adaptive'])
  const rho = checkNumber('sam', 'rho', options.rho ?? 0.05, nonNegative)
  return Object.freeze({ kind: 'sam', base, rho, adaptive: checkBoolean('sam', 'adaptive', options.adaptive ?? false) })
}
