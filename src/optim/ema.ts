import type { ParameterArrays } from './arrays.js'
import { evaluate } from './expr/evaluate.js'
import { array, type Formula, formula, scalar } from './expr/expr.js'
import type { ParallelEvaluation } from './expr/parallel.js'

const [average, value] = [array('average'), array('value')]

/**
 * average <- average + (1 - decay) (value - average): the exponential moving average in a form in which float32 keeps
 * the digits of 1 - decay.
 */
export const emaFormula: Formula = formula({ average: average.add(value.sub(average).mul(scalar('oneMinusDecay'))) })

/** Moves averages towards the values of the same names, in place: average <- decay average + (1 - decay) value. */
export function updateAverages(
  averages: ParameterArrays,
  values: ParameterArrays,
  decay: number,
  parallel?: ParallelEvaluation,
): void {
  const tensors = { average: Object.keys(values).map((name) => averages[name]!), value: Object.values(values) }
  evaluate(emaFormula, tensors, { oneMinusDecay: 1 - decay }, parallel)
}
