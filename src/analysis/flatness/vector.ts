import { dot, type FloatArray } from '../../ir/float-array.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import type { ParameterArrays } from '../../optim/arrays.js'

/** All parameters as one vector, in double precision for any parameter type. */
export type ParameterVector = Float64Array

export const norm = (a: ParameterVector): number => Math.sqrt(dot(a, a))

/** y <- y + factor x, in place. */
export function addScaled(y: ParameterVector, factor: number, x: ArrayLike<number>): void {
  for (let i = 0; i < y.length; i++) y[i]! += factor * x[i]!
}

export const scale = (factor: number, x: ParameterVector): ParameterVector => x.map((value) => factor * value)

/** Returns y + factor x as a new vector. */
export function addScaledCopy(y: ParameterVector, factor: number, x: ParameterVector): ParameterVector {
  const sum = y.slice()
  addScaled(sum, factor, x)
  return sum
}

/** Position of one parameter's elements in the vector of all parameters. */
export interface ParameterSlice {
  readonly name: string
  readonly dtype: 'float32' | 'float64'
  readonly dims: readonly number[]
  readonly from: number
  readonly length: number
}

/** Maps parameters to one vector: their elements one after the other, in the model's order. */
export class ParameterLayout {
  readonly places: readonly ParameterSlice[]
  readonly size: number

  constructor(parameters: ReadonlyMap<string, Value>) {
    let from = 0
    this.places = [...parameters].map(([name, value]) => {
      const dims = value.shape as readonly number[]
      const place: ParameterSlice = {
        name,
        dtype: value.dtype as ParameterSlice['dtype'],
        dims,
        from,
        length: sizeOf(dims),
      }
      from += place.length
      return place
    })
    this.size = from
  }

  /** Concatenates parameter arrays to a vector. */
  gather(arrays: ParameterArrays): ParameterVector {
    const vector = new Float64Array(this.size)
    for (const { name, from } of this.places) vector.set(arrays[name]!, from)
    return vector
  }

  /** Writes a vector into parameter arrays, rounded to their precision. */
  scatter(vector: ParameterVector, arrays: Readonly<Record<string, FloatArray>>): void {
    for (const { name, from, length } of this.places) arrays[name]!.set(vector.subarray(from, from + length))
  }
}
