import { invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, type Formula, formula, scalar } from './expr/expr.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `sam`. */
export interface SamOptions {
  /** The length of the ascent; default 0.05. */
  readonly rho?: number
  /** Scale the ascent by the parameters (Kwon et al. 2021, arXiv 2102.11600); default false. */
  readonly adaptive?: boolean
}

export const samOptions: OptionSpecs<SamOptions> = {
  rho: { type: 'number', default: 0.05, range: nonNegative, description: 'the length of the ascent' },
  adaptive: { type: 'boolean', default: false, description: 'whether the parameters scale the ascent' },
}

/** A base optimizer that gets the gradient at the end of a small ascent. */
export interface SamOptimizer {
  readonly kind: 'sam'
  readonly base: BaseOptimizer
  readonly rho: number
  readonly adaptive: boolean
}

/**
 * Sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412): two gradients per step, the second at theta + e,
 *
 *     e = rho g / (||g|| + 1e-12)                          with the norm of all tensors together
 *     e = rho theta^2 g / (||abs(theta) g|| + 1e-12)       adaptive
 *
 * @throws 'invalid-option'
 */
export function sam(base: BaseOptimizer, options: SamOptions = {}): SamOptimizer {
  if (base.kind !== 'base') throw invalidOption('sam', 'base', base.kind, 'a base optimizer; write ire(sam(sgd()))')
  return Object.freeze<SamOptimizer>({ kind: 'sam', base, ...readOptions('sam', samOptions, options) })
}

const [theta, g, scale] = [array('theta'), array('g'), scalar('scale')]

/** ascended = theta + scale g, with scale = rho / (||g|| + 1e-12). */
export const ascentFormula: Formula = formula({ ascended: theta.add(g.mul(scale)) })

/** ascended = theta + scale theta^2 g, with scale = rho / (||abs(theta) g|| + 1e-12). */
export const adaptiveAscentFormula: Formula = formula({ ascended: theta.add(theta.mul(scale).mul(theta).mul(g)) })

/** ||abs(theta) g||^2 */
export const adaptiveNormFormula: Formula = formula({}, { squares: theta.mul(g) })
