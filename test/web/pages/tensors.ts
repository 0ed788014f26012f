import { type DType, dtypes } from '../../../src/ir/dtype.js'
import type { Tensor, Tensors } from '../../../src/ir/tensor.js'

/** A tensor as JSON carries it; 64-bit integers as text. `array` is the class its elements were in. */
export interface Plain {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: readonly (number | string)[]
  readonly array?: string
}

export type Plains = Readonly<Record<string, Plain>>

/** A vector to send. */
export const floats = (...data: number[]) => ({ dtype: 'float32', dims: [data.length], data }) as const

/** A vector as it is received. */
export const answer = (...data: number[]) => ({ ...floats(...data), array: 'Float32Array' })

export function tensorsOf(plains: Plains): Tensors {
  return Object.fromEntries(Object.entries(plains).map(([name, plain]) => [name, tensorOf(plain)]))
}

export function tensorOf({ dtype, dims, data }: Plain): Tensor {
  const { array } = dtypes[dtype]
  if (array === null) return { dtype, dims, data: data as readonly string[] }
  const own = new array(data.length)
  const wide = own instanceof BigInt64Array || own instanceof BigUint64Array
  for (const [i, x] of data.entries()) own[i] = (wide ? BigInt(x) : x) as never
  return { dtype, dims, data: own }
}

export function plainsOf(tensors: Tensors): Plains {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, plainOf(tensor)]))
}

export const plainOf = ({ dtype, dims, data }: Tensor): Plain => ({
  dtype,
  dims,
  data: Array.from(data as Iterable<number | bigint | string>, (x) => (typeof x === 'bigint' ? String(x) : x)),
  array: data.constructor.name,
})
