import { nonNegative } from '../util/check.js'
import { array, type Expr, type Formula, formula, scalar } from './expr/expr.js'
import type { OptionSpecs } from './option-specs.js'

/** Options of optimizers that offer both kinds of weight decay. */
export interface WeightDecayOptions {
  /** Weight decay; default 0. */
  readonly weightDecay?: number
  /** Subtract lr * weightDecay * theta, as AdamW, instead of adding L2 to the gradient; default false. */
  readonly decoupled?: boolean
}

export const weightDecayOptions: OptionSpecs<WeightDecayOptions> = {
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'L2, or decoupled times lr' },
  decoupled: { type: 'boolean', default: false, description: 'whether weight decay is decoupled' },
}

const [theta, g] = [array('theta'), array('g')]
const decay = theta.mul(scalar('decay'))

/**
 * Builds an update with both kinds of weight decay: L2, added to the gradient, and decoupled, subtracted from the
 * displacement. Their scalar `decay` is `decayOf(...)`.
 * @param step builds the displacement and the moments for the gradient g
 */
export function withWeightDecay(step: (g: Expr) => { readonly d: Expr } & Readonly<Record<string, Expr>>) {
  const { d, ...moments } = step(g)
  const formulas: { readonly l2: Formula; readonly decoupled: Formula } = {
    l2: formula(step(g.add(decay))),
    decoupled: formula({ d: d.sub(decay), ...moments }),
  }
  return (isDecoupled: boolean): Formula => (isDecoupled ? formulas.decoupled : formulas.l2)
}

/** The scalar `decay` of `withWeightDecay`. */
export const decayOf = (isDecoupled: boolean, lr: number, weightDecay: number): number =>
  isDecoupled ? lr * weightDecay : weightDecay
