import type { FloatArray, ParameterArrays } from '../optim/arrays.js'

/** e <- decay e + (1 - decay) theta for every tensor, in place: the exponential moving average of weights. */
export function average(averages: ParameterArrays, arrays: ParameterArrays, decay: number): void {
  for (const [name, average] of Object.entries(averages)) moveTowards(average, arrays[name]!, decay)
}

function moveTowards(average: FloatArray, array: FloatArray, decay: number): void {
  const take = 1 - decay
  for (let i = 0; i < average.length; i++) average[i] = decay * average[i]! + take * array[i]!
}
