import { belowOne, count, invalidOption, nonNegative, positiveCount, unit } from '../../util/check.js'
import type { BaseOptimizer } from '../base-optimizer.js'
import { type OptionSpecs, readOptions } from '../option-specs.js'
import type { SamOptimizer } from '../sam.js'

/** Options of `ire`; names are the paper's. */
export interface IreOptions {
  /** The enhancement: flat coordinates move (1 + kappa) times as far; >= 0, default 1. */
  readonly kappa?: number
  /**
   * The share of coordinates treated as flat. The paper uses (0.5, 1); all of [0, 1] is accepted, because the ends are
   * useful controls: 1 enhances everything, 0 only the coordinates of least curvature. Default 0.6.
   */
  readonly gamma?: number
  /** Steps between two refreshes of the mask (K); default 10. */
  readonly interval?: number
  /** Steps of the pure base optimizer before IRE starts (T_w); default 0. The first refresh is at step `warmup`. */
  readonly warmup?: number
  /**
   * Smoothing of the curvature estimate, F <- beta F + (1 - beta) h, in [0, 1); default 0. F starts at 0 for each tensor:
   * one that is trained later than others (`freeze`) counts as flat too often until about 1 / (1 - beta) refreshes later.
   */
  readonly beta?: number
  /** Scale kappa by the learning rate's schedule, lr_t / lr; default false. */
  readonly kappaDecay?: boolean
  /**
   * The source of h. 'sampled' (default): the squared gradient against labels sampled from the model's own output,
   * one extra gradient per refresh. 'empirical': the squared true gradient, at no cost. 'hutchinson': v * Hv with a
   * random v of -1 and 1, the diagonal of the exact Hessian in expectation (Hutchinson 1990); it has a sign, and
   * coordinates of negative curvature are flat.
   */
  readonly curvature?: 'sampled' | 'empirical' | 'hutchinson'
}

export const ireOptions: OptionSpecs<IreOptions> = {
  kappa: { type: 'number', default: 1, range: nonNegative, description: 'the enhancement' },
  gamma: { type: 'number', default: 0.6, range: unit, description: 'the share of coordinates treated as flat' },
  interval: { type: 'number', default: 10, range: positiveCount, description: 'steps between two mask refreshes' },
  warmup: { type: 'number', default: 0, range: count, description: 'the steps before IRE starts' },
  beta: { type: 'number', default: 0, range: belowOne, description: 'the smoothing of the curvature' },
  kappaDecay: { type: 'boolean', default: false, description: 'whether kappa follows the learning rate schedule' },
  curvature: {
    type: 'choice',
    default: 'sampled',
    choices: ['sampled', 'empirical', 'hutchinson'],
    description: 'the source of the curvature estimate',
  },
}

/** An optimizer with a larger displacement along flat coordinates. */
export interface IreOptimizer extends Readonly<Required<IreOptions>> {
  readonly kind: 'ire'
  readonly inner: BaseOptimizer | SamOptimizer
}

/**
 * Implicit Regularization Enhancement (Wang et al. 2024, arXiv 2405.20763, Algorithm 1) around any base optimizer, with
 * or without SAM: theta <- theta + (1 + kappa n) d, with d the base's displacement and n = 1 on the flat coordinates.
 * The enhancement does not affect the moments; decoupled weight decay is part of d and is enhanced with it.
 *
 * @throws OnnxIreError `invalid-option`
 */
export function ire(inner: BaseOptimizer | SamOptimizer, options: IreOptions = {}): IreOptimizer {
  if (inner?.kind !== 'base' && inner?.kind !== 'sam')
    throw invalidOption('ire', 'inner', inner, 'a base optimizer such as adamw(), or sam around one')
  return Object.freeze<IreOptimizer>({ kind: 'ire', inner, ...readOptions('ire', ireOptions, options) })
}

/** Whether step `t`, counted from 0, refreshes the mask: t >= T_w and (t - T_w) mod K = 0. */
export const refreshesAt = ({ warmup, interval }: IreOptimizer, t: number): boolean =>
  t >= warmup && (t - warmup) % interval === 0

/** The enhancement at step `t`: 0 during the warm-up. */
export const kappaAt = ({ kappa, kappaDecay, warmup }: IreOptimizer, t: number, lrFactor: number): number =>
  t < warmup ? 0 : kappaDecay ? kappa * lrFactor : kappa
