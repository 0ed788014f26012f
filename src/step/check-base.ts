import type { BaseOptimizer } from '../optim/base.js'
import { OnnxIreError } from '../util/errors.js'

const checked = new WeakSet<BaseOptimizer>()

/** What the update adds to a base optimizer's formula. */
const reserved: readonly string[] = ['n', 'd', 'kappa', 'limit', 'scale']

/** Refuses, as 'invalid-option', a base optimizer whose formula does not fit what else it says of itself. */
export function checkBase(base: BaseOptimizer): void {
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
export function factorsOf(base: BaseOptimizer, t: number, lr: number, weightDecay: number) {
  const factors = base.factors(t, lr, weightDecay)
  for (const scalar of base.formula.scalars)
    if (!Number.isFinite(factors[scalar]))
      throw new OnnxIreError(
        'invalid-option',
        `optimizer '${base.name}': the factor '${scalar}' of update ${t} is ${factors[scalar]}; it must be a finite number`,
      )
  return factors
}
