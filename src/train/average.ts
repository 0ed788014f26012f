import { evaluate } from '../formula/evaluate.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { movedAverage } from '../step/formulas.js'

/** e <- decay e + (1 - decay) theta for every tensor, in place: the exponential moving average of weights. */
export function average(averages: ParameterArrays, arrays: ParameterArrays, decay: number): void {
  for (const [name, average] of Object.entries(averages))
    evaluate(movedAverage, { average, value: arrays[name]! }, { take: 1 - decay })
}
