import { belowOne, count, invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, type Expr, formula, scalar } from './expr/expr.js'
import { movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of the average that `scheduleFreeAdamw` and `scheduleFreeSgd` evaluate. */
interface AveragingOptions {
  /** Updates over which the learning rate grows linearly from 0; default 0. */
  readonly warmup?: number
  /** Power r of the number of updates in the weights of the average; default 0. */
  readonly weightPower?: number
  /** Power p of the learning rate in the weights of the average; default 2. Matters during the warm-up only. */
  readonly weightLrPower?: number
}

/** Options of `scheduleFreeAdamw`; defaults are those of the authors' `AdamWScheduleFree`. */
export interface ScheduleFreeAdamwOptions extends AveragingOptions {
  /** Learning rate, usually one to ten times AdamW's; default 2.5e-3. */
  readonly lr?: number
  /** Interpolation between average and iterate, above 0, and decay of the second moment; default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** Decoupled, times lr, of the weights that are trained; default 0. */
  readonly weightDecay?: number
}

/** Options of `scheduleFreeSgd`; defaults are those of the authors' `SGDScheduleFree`. */
export interface ScheduleFreeSgdOptions extends AveragingOptions {
  /** Learning rate, usually ten times that of SGD with momentum; default 1. */
  readonly lr?: number
  /** Interpolation between average and iterate, in (0, 1); default 0.9. */
  readonly momentum?: number
  /** L2: weightDecay * theta is added to the gradient; default 0. */
  readonly weightDecay?: number
}

const averagingOptions: OptionSpecs<AveragingOptions> = {
  warmup: { type: 'number', default: 0, range: count, description: 'the updates over which the learning rate grows' },
  weightPower: { type: 'number', default: 0, range: nonNegative, description: 'the power of the number of updates' },
  weightLrPower: { type: 'number', default: 2, range: nonNegative, description: 'the power of the learning rate' },
}

export const scheduleFreeAdamwOptions: OptionSpecs<ScheduleFreeAdamwOptions> = {
  lr: { type: 'number', default: 2.5e-3, range: nonNegative, description: 'the learning rate' },
  betas: {
    type: 'numbers',
    default: [0.9, 0.999],
    range: belowOne,
    allowed: 'two numbers in [0, 1)',
    description: 'the interpolation between average and iterate, and the decay of the second moment',
  },
  eps: { type: 'number', default: 1e-8, range: nonNegative, description: 'added to the root of the second moment' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'decoupled weight decay, times lr' },
  ...averagingOptions,
}

export const scheduleFreeSgdOptions: OptionSpecs<ScheduleFreeSgdOptions> = {
  lr: { type: 'number', default: 1, range: nonNegative, description: 'the learning rate' },
  momentum: {
    type: 'number',
    default: 0.9,
    range: belowOne,
    description: 'the interpolation between average and iterate',
  },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, added to the gradient' },
  ...averagingOptions,
}

/**
 * Schedule-Free AdamW (Defazio et al. 2024, arXiv 2405.15682), as the authors' `AdamWScheduleFree`; t counts from 1:
 *
 *     v <- beta2 v + (1 - beta2) g^2
 *     u = g / (sqrt(v / (1 - beta2^t)) + eps) + weightDecay y
 *     s = lr min(1, t / warmup)
 *     w = t^weightPower s^weightLrPower
 *     W <- W + w, c = w / W
 *     y <- y + c (z - y) + s (beta1 (1 - c) - 1) u
 *     z <- z - s u
 *
 * The model is trained at y, and evaluated and exported at the average x = y + (1 - 1 / beta1) (z - y). The state is z
 * - y and v; W follows from t. IRE multiplies u, in y and in z, so that x, y and z keep their relation. `schedule` and
 * `ema` of a trainer are rejected: x is the average, and takes the place of a decay.
 * @throws OnnxIreError `invalid-option`
 */
export function scheduleFreeAdamw(options: ScheduleFreeAdamwOptions = {}): BaseOptimizer {
  const resolved = readOptions('scheduleFreeAdamw', scheduleFreeAdamwOptions, options)
  const {
    lr,
    betas: [beta1, beta2],
    eps,
    weightDecay,
  } = resolved
  if (beta1 === 0) throw invalidOption('scheduleFreeAdamw', 'betas[0]', beta1, 'a number in (0, 1)')
  const averaging = createAveraging(resolved, beta1)
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'schedule-free-adamw',
    lr,
    weightDecay,
    options: resolved,
    moments: ['offset', 'secondMoment'],
    formula: adamwFormula,
    evaluation: { offset: 1 - 1 / beta1 },
    coefficients: (t, lr, weightDecay) => {
      const correction = Math.sqrt(1 - beta2 ** (t + 1))
      return { ...averaging(t, lr), oneMinusBeta2: 1 - beta2, correction, eps: eps * correction, weightDecay }
    },
  })
}

/**
 * Schedule-Free SGD (Defazio et al. 2024, arXiv 2405.15682), as the authors' `SGDScheduleFree`: `scheduleFreeAdamw`
 * with u = g + weightDecay y, and momentum for beta1.
 * @throws OnnxIreError `invalid-option`
 */
export function scheduleFreeSgd(options: ScheduleFreeSgdOptions = {}): BaseOptimizer {
  const resolved = readOptions('scheduleFreeSgd', scheduleFreeSgdOptions, options)
  const { lr, momentum, weightDecay } = resolved
  if (momentum === 0) throw invalidOption('scheduleFreeSgd', 'momentum', momentum, 'a number in (0, 1); or use sgd')
  const averaging = createAveraging(resolved, momentum)
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'schedule-free-sgd',
    lr,
    weightDecay,
    options: resolved,
    moments: ['offset'],
    formula: sgdFormula,
    evaluation: { offset: 1 - 1 / momentum },
    coefficients: (t, lr, weightDecay) => ({ ...averaging(t, lr), weightDecay }),
  })
}

/** Creates the scalars of `averagedStep` for update t, from 0. */
function createAveraging({ warmup, weightPower, weightLrPower }: Required<AveragingOptions>, beta: number) {
  const growth = (t: number) => (t < warmup ? (t + 1) / warmup : 1)
  /** lr^p is a factor of every weight, and cancels. */
  const weightOf = (t: number) => (t + 1) ** weightPower * growth(t) ** weightLrPower
  const sums: number[] = []
  return (t: number, lr: number) => {
    for (let i = sums.length; i <= t; i++) sums.push((sums[i - 1] ?? 0) + weightOf(i))
    const share = weightOf(t) / sums[t]!
    const step = lr * growth(t)
    return { share, kept: 1 - share, ofOffset: -step * beta, ofTheta: step * (beta * (1 - share) - 1) }
  }
}

const [y, g, offset] = [array('theta'), array('g'), array('offset')]
const decayOf = y.mul(scalar('weightDecay'))

/**
 * The step for the direction u, with e = z - y, and (1 + kappa n) u for u:
 *
 *     d = c e + s (beta (1 - c) - 1) u
 *     e <- (1 - c) (e - s beta u)
 */
function averagedStep(direction: Expr) {
  const u = direction.mul(array('enhancement'))
  return {
    d: offset.mul(scalar('share')).add(u.mul(scalar('ofTheta'))),
    offset: offset.add(u.mul(scalar('ofOffset'))).mul(scalar('kept')),
  }
}

const secondMoment = movingSquare(array('secondMoment'), g, scalar('oneMinusBeta2'))
const adaptive = g.mul(scalar('correction')).div(secondMoment.sqrt().add(scalar('eps')))
const adamwFormula = formula({ ...averagedStep(adaptive.add(decayOf)), secondMoment })
const sgdFormula = formula(averagedStep(g.add(decayOf)))
