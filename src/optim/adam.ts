import { belowOne, nonNegative } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { array, type Expr, scalar } from './expr/expr.js'
import { movingAverage, movingSquare } from './moving-average.js'
import { type OptionSpecs, readOptions } from './option-specs.js'
import { decayOf, withWeightDecay } from './weight-decay.js'

/** Options of `adam` and `adamw`; names and defaults are those of `torch.optim.Adam` and `AdamW`. */
export interface AdamOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** L2, added to the gradient (`adam`), or decoupled, times lr (`adamw`). Default: 0 for `adam`, 0.01 for `adamw`. */
  readonly weightDecay?: number
  /** Divide by the largest second moment so far (Reddi et al. 2018, arXiv 1904.09237); default false. */
  readonly amsgrad?: boolean
}

type MomentOptions = Omit<AdamOptions, 'amsgrad'>

/** The options that optimizers with Adam's moments share. */
export const adamOptions: OptionSpecs<MomentOptions> = {
  lr: { type: 'number', default: 1e-3, range: nonNegative, description: 'the learning rate' },
  betas: {
    type: 'numbers',
    default: [0.9, 0.999],
    range: belowOne,
    allowed: 'two numbers in [0, 1)',
    description: 'the decay rates of the two moments, from 0 to below 1',
  },
  eps: { type: 'number', default: 1e-8, range: nonNegative, description: 'added to the root of the second moment' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, added to the gradient' },
}

const amsgradOption = {
  amsgrad: { type: 'boolean', default: false, description: 'whether to divide by the largest second moment so far' },
} as const

export const adamL2Options: OptionSpecs<AdamOptions> = { ...adamOptions, ...amsgradOption }

export const adamwOptions: OptionSpecs<AdamOptions> = {
  ...adamL2Options,
  weightDecay: { type: 'number', default: 0.01, range: nonNegative, description: 'decoupled weight decay, times lr' },
}

/**
 * Adam (Kingma & Ba 2015, arXiv 1412.6980), exactly as `torch.optim.Adam`; t counts from 1:
 *
 *     g <- g + weightDecay theta
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     d = -lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * With amsgrad the v of d is the largest v so far.
 * @throws OnnxIreError `invalid-option`
 */
export function adam(options: AdamOptions = {}): BaseOptimizer {
  const resolved = readOptions('adam', adamL2Options, options)
  const { lr, betas, eps, weightDecay, amsgrad } = resolved
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adam',
    lr,
    weightDecay,
    options: describe(resolved),
    moments: momentNames(amsgrad),
    formula: adamFormula(amsgrad)(false),
    coefficients: (t, lr, weightDecay) => ({
      ...adamCoefficients(t, lr, betas, eps),
      decay: decayOf(false, lr, weightDecay),
    }),
  })
}

/**
 * AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), exactly as `torch.optim.AdamW`: Adam without weight decay in the
 * gradient, and with it in the displacement,
 *
 *     d = -lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) - lr weightDecay theta
 *
 * @throws OnnxIreError `invalid-option`
 */
export function adamw(options: AdamOptions = {}): BaseOptimizer {
  const resolved = readOptions('adamw', adamwOptions, options)
  const { lr, betas, eps, weightDecay, amsgrad } = resolved
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adamw',
    lr,
    weightDecay,
    options: describe(resolved),
    moments: momentNames(amsgrad),
    formula: adamFormula(amsgrad)(true),
    coefficients: (t, lr, weightDecay) => ({
      ...adamCoefficients(t, lr, betas, eps),
      decay: decayOf(true, lr, weightDecay),
    }),
  })
}

/** The options without `amsgrad` if it is false, so that checkpoints from before this option match. */
const describe = ({ amsgrad, ...options }: Readonly<Required<AdamOptions>>): BaseOptimizer['options'] =>
  Object.freeze(amsgrad ? { ...options, amsgrad } : options)

const momentNames = (amsgrad: boolean): readonly string[] => [
  'firstMoment',
  'secondMoment',
  ...(amsgrad ? ['largestSecondMoment'] : []),
]

/** The moments and the displacement for the gradient g. */
function adamStep(g: Expr, amsgrad: boolean) {
  const firstMoment = movingAverage(array('firstMoment'), g, scalar('oneMinusBeta1'))
  const secondMoment = movingSquare(array('secondMoment'), g, scalar('oneMinusBeta2'))
  const largestSecondMoment = array('largestSecondMoment').max(secondMoment)
  const v = amsgrad ? largestSecondMoment : secondMoment
  const d = firstMoment.mul(scalar('stepSize')).div(v.sqrt().add(scalar('eps')))
  return { d, firstMoment, secondMoment, ...(amsgrad ? { largestSecondMoment } : {}) }
}

const [plainFormula, amsgradFormula] = [false, true].map((amsgrad) => withWeightDecay((g) => adamStep(g, amsgrad)))
const adamFormula = (amsgrad: boolean) => (amsgrad ? amsgradFormula! : plainFormula!)

/**
 * The scalars of update t, from 0. Numerator and denominator of d are multiplied by r = sqrt(1 - beta2^(t + 1)):
 *
 *     stepSize = -lr r / (1 - beta1^(t + 1)), eps <- eps r
 */
function adamCoefficients(t: number, lr: number, [beta1, beta2]: readonly [number, number], eps: number) {
  const r = Math.sqrt(1 - beta2 ** (t + 1))
  const stepSize = (-lr * r) / (1 - beta1 ** (t + 1))
  return { oneMinusBeta1: 1 - beta1, oneMinusBeta2: 1 - beta2, stepSize, eps: eps * r }
}
