import { evaluate } from '../formula/evaluate.js'
import { add, array, formula, mul, scalar, sub } from '../formula/formula.js'
import type { ParameterArrays } from '../optim/arrays.js'

/** Written so that single precision holds the digits of what is taken, which it would not of a decay close to 1. */
const moved = formula({
  average: add(array('average'), mul(scalar('take'), sub(array('value'), array('average')))),
})

/** e <- decay e + (1 - decay) theta for every tensor, in place: the exponential moving average of weights. */
export function average(averages: ParameterArrays, arrays: ParameterArrays, decay: number): void {
  for (const [name, average] of Object.entries(averages))
    evaluate(moved, { average, value: arrays[name]! }, { take: 1 - decay })
}
