import type { ParameterArrays } from '../optim/arrays.js'
import { evaluateOne } from '../optim/expr/evaluate.js'
import { movedAverage } from '../optim/update-formulas.js'

/** e <- decay e + (1 - decay) theta for every one of the arrays, in place: the exponential moving average of weights. */
export function average(averages: ParameterArrays, arrays: ParameterArrays, decay: number): void {
  for (const [name, value] of Object.entries(arrays))
    evaluateOne(movedAverage, { average: averages[name]!, value }, { take: 1 - decay })
}
