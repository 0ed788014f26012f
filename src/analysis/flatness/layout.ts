import type { FloatArray } from '../../ir/float-array.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { Vector } from './vector.js'

/** Where a parameter's elements lie in the vector of all. */
export interface Place {
  readonly name: string
  readonly dtype: 'float32' | 'float64'
  readonly dims: readonly number[]
  readonly from: number
  readonly length: number
}

/** All parameters one after the other, in their order. */
export class Layout {
  readonly places: readonly Place[]
  readonly size: number

  constructor(parameters: ReadonlyMap<string, Value>) {
    let from = 0
    this.places = [...parameters].map(([name, value]) => {
      const dims = value.shape as readonly number[]
      const place: Place = { name, dtype: value.dtype as Place['dtype'], dims, from, length: sizeOf(dims) }
      from += place.length
      return place
    })
    this.size = from
  }

  /** The parameters of a vector. */
  gather(arrays: ParameterArrays): Vector {
    const vector = new Float64Array(this.size)
    for (const { name, from } of this.places) vector.set(arrays[name]!, from)
    return vector
  }

  /** Writes a vector into parameters, rounded to their precision. */
  scatter(vector: Vector, arrays: Readonly<Record<string, FloatArray>>): void {
    for (const { name, from, length } of this.places) arrays[name]!.set(vector.subarray(from, from + length))
  }
}
