import { belowOne, invalidOption, nonNegative, positiveCount } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, type Formula, formula, scalar } from './expr/expr.js'
import { movingAverage } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `sam`. */
export interface SamOptions {
  /** The length of the ascent; default 0.05. */
  readonly rho?: number
  /** Scale the ascent by the parameters (Kwon et al. 2021, arXiv 2102.11600); default false. */
  readonly adaptive?: boolean
  /**
   * 'friendly': ascend along the noise of the batch, without the mean of the gradients (Li et al. 2024, arXiv
   * 2403.12350). 'look': ascend at every `interval`-th step only (Liu et al. 2022, arXiv 2203.02714). Default 'sam'.
   */
  readonly variant?: 'sam' | 'friendly' | 'look'
  /** 'friendly': the share of the mean that is subtracted; default 1. */
  readonly sigma?: number
  /** 'friendly': the decay of the mean, in [0, 1); default 0.9. */
  readonly meanDecay?: number
  /** 'look': the length of the remembered component, in lengths of the gradient; default 0.7. */
  readonly alpha?: number
  /** 'look': the steps between two ascents; default 5. */
  readonly interval?: number
}

export const samOptions: OptionSpecs<SamOptions> = {
  rho: { type: 'number', default: 0.05, range: nonNegative, description: 'the length of the ascent' },
  adaptive: { type: 'boolean', default: false, description: 'whether the parameters scale the ascent' },
  variant: {
    type: 'choice',
    default: 'sam',
    choices: ['sam', 'friendly', 'look'],
    description: 'SAM itself, along the noise of the batch, or at some steps only',
  },
  sigma: { type: 'number', default: 1, range: nonNegative, description: 'friendly: the share of the mean' },
  meanDecay: { type: 'number', default: 0.9, range: belowOne, description: 'friendly: the decay of the mean' },
  alpha: { type: 'number', default: 0.7, range: nonNegative, description: 'look: the length of the component' },
  interval: { type: 'number', default: 5, range: positiveCount, description: 'look: the steps between two ascents' },
}

/** The options that only one variant reads. */
const variantOptions: Readonly<Record<string, 'friendly' | 'look'>> = {
  sigma: 'friendly',
  meanDecay: 'friendly',
  alpha: 'look',
  interval: 'look',
}

/** A base optimizer that gets the gradient at the end of a small ascent. */
export interface SamOptimizer extends Readonly<Required<SamOptions>> {
  readonly kind: 'sam'
  readonly base: BaseOptimizer
}

/**
 * Sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412): two gradients per step, the second at theta + e,
 *
 *     e = rho g / (||g|| + 1e-12)                          with the norm of all tensors together
 *     e = rho theta^2 g / (||abs(theta) g|| + 1e-12)       adaptive
 *
 * Friendly SAM ascends along d = g - sigma m instead of g, and m <- meanDecay m + (1 - meanDecay) g; at first m = g, d
 * = g. LookSAM takes the gradient s after the ascent at every `interval`-th step, and stores its component c = s -
 * (s g / ||g||^2) g; at the other steps it takes one gradient, and uses g + alpha ||g|| / ||c|| c. Both store one array
 * per parameter.
 * @throws OnnxIreError `invalid-option`
 */
export function sam(base: BaseOptimizer, options: SamOptions = {}): SamOptimizer {
  if (base?.kind !== 'base')
    throw invalidOption('sam', 'base', base, 'a base optimizer such as sgd(); write ire(sam(sgd()))')
  const resolved = readOptions('sam', samOptions, options)
  const { variant, adaptive } = resolved
  if (adaptive && variant !== 'sam')
    throw invalidOption('sam', 'adaptive', true, `false with variant '${variant}', which is defined for plain ascents`)
  for (const [option, needed] of Object.entries(variantOptions))
    if (needed !== variant && options[option as keyof SamOptions] !== undefined)
      throw invalidOption('sam', option, options[option as keyof SamOptions], `omitted unless variant is '${needed}'`)
  return Object.freeze<SamOptimizer>({ kind: 'sam', base, ...resolved })
}

/** Returns the options of SAM that its variant reads. */
export function describeSam({ rho, adaptive, variant, ...others }: SamOptimizer): Readonly<Record<string, unknown>> {
  // Without a variant the options are those of checkpoints from before there were variants.
  if (variant === 'sam') return { rho, adaptive }
  const own = Object.entries(variantOptions).filter(([, of]) => of === variant)
  return { rho, variant, ...Object.fromEntries(own.map(([option]) => [option, others[option as keyof typeof others]])) }
}

/** The array that a variant stores per parameter; null without one. */
export const samMoment = ({ variant }: SamOptimizer): string | null =>
  variant === 'friendly' ? 'gradientMean' : variant === 'look' ? 'gradientComponent' : null

/** Whether step `t`, counted from 0, takes a second gradient. */
export const ascendsAt = ({ variant, interval }: SamOptimizer, t: number): boolean =>
  variant !== 'look' || t % interval === 0

const [theta, g, scale] = [array('theta'), array('g'), scalar('scale')]

/** ascended = theta + scale g, with scale = rho / (||g|| + 1e-12). */
export const ascentFormula: Formula = formula({ ascended: theta.add(g.mul(scale)) })

/** ascended = theta + scale theta^2 g, with scale = rho / (||abs(theta) g|| + 1e-12). */
export const adaptiveAscentFormula: Formula = formula({ ascended: theta.add(theta.mul(scale).mul(theta).mul(g)) })

const mean = array('gradientMean')

/** The direction g - sigma m of friendly SAM, and the next mean; at first with sigma 0 and oneMinusDecay 1. */
export const friendlyFormula: Formula = formula({
  direction: g.sub(mean.mul(scalar('sigma'))),
  nextMean: movingAverage(mean, g, scalar('oneMinusDecay')),
})

/** ||abs(theta) g||^2 */
export const adaptiveNormFormula: Formula = formula({}, { squares: theta.mul(g) })
