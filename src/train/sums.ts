import { type FloatArray, zerosLike } from '../ir/float-array.js'
import type { ParameterArrays } from '../optim/arrays.js'

/** sums <- sums + factor * arrays, by name; a sum that is not there yet is 0. What counts for nothing may be not a number. */
export function addScaled(sums: Record<string, FloatArray>, arrays: ParameterArrays, factor: number): void {
  for (const [name, array] of Object.entries(arrays)) {
    sums[name] ??= zerosLike(array)
    if (factor !== 0) addTo(sums[name], array, factor)
  }
}

function addTo(sum: FloatArray, array: FloatArray, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += factor * array[i]!
}

/** arrays <- factor * arrays */
export function scale(arrays: Readonly<Record<string, FloatArray>>, factor: number): void {
  for (const array of Object.values(arrays)) for (let i = 0; i < array.length; i++) array[i]! *= factor
}
