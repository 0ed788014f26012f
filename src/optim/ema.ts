import type { ParameterArrays } from './arrays.js'
import { evaluateOne } from './expr/evaluate.js'
import { array, type Formula, formula, scalar } from './expr/expr.js'

const [average, value] = [array('average'), array('value')]

/**
 * average <- average + (1 - decay) (value - average): the exponential moving average in a form in which float32 keeps
 * the digits of 1 - decay.
 */
export const emaFormula: Formula = formula({ average: average.add(value.sub(average).mul(scalar('oneMinusDecay'))) })

/** Moves averages towards the values of the same names, in place: average <- decay average + (1 - decay) value. */
export function updateAverages(averages: ParameterArrays, values: ParameterArrays, decay: number): void {
  for (const [name, value] of Object.entries(values))
    evaluateOne(emaFormula, { average: averages[name]!, value }, { oneMinusDecay: 1 - decay })
}
