import type { Formula } from './formula.js'
import { interpreted } from './interpret.js'
import type { Arrays, Kernel, Scalars } from './kernel.js'

const interpreters = new WeakMap<Formula, Kernel>()

/**
 * Computes a formula over host arrays, in place.
 * @param arrays everything the formula reads and writes; an output may be written over an array that is read
 * @param scalars every scalar of the formula
 * @returns the sums of squares by name
 */
export function evaluate(formula: Formula, arrays: Arrays, scalars: Scalars = {}): Readonly<Record<string, number>> {
  const kernel = interpreters.get(formula) ?? interpreted(formula)
  interpreters.set(formula, kernel)
  return kernel(arrays, scalars)
}
