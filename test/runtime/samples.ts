import { type DType, dtypes } from '../../src/ir/dtype.js'
import { sizeOf, type Tensor, tensor } from '../../src/ir/tensor.js'

export const vector = { dtype: 'float32', dims: ['n'] } as const
export const square = (n: number): Tensor => tensor('float32', [n, n], new Float32Array(n * n).fill(1 / n))
export const floats = (...values: number[]): Tensor => tensor('float32', [values.length], Float32Array.from(values))

/** A vector in shared memory. */
export function sharedFloats(...values: number[]): Tensor {
  const data = new Float32Array(new SharedArrayBuffer(4 * values.length))
  data.set(values)
  return tensor('float32', [values.length], data)
}

/** Sample elements of a dtype that cannot be mistaken for those of another dtype. */
export function sample(dtype: DType, dims: readonly number[]): Tensor {
  const { array, bits } = dtypes[dtype]
  const count = sizeOf(dims)
  const length = bits === 4 ? Math.ceil(count / 2) : count
  if (array === null) return { dtype, dims, data: Array.from({ length }, (_, i) => ['', 'größe', 'ab'][i % 3]!) }
  const big = array === (BigInt64Array as unknown) || array === (BigUint64Array as unknown)
  const wide = array === (BigInt64Array as unknown) ? -(2n ** 63n) : 2n ** 64n - 1n
  const value = (i: number) => {
    if (big) return i === 0 ? wide : BigInt(i)
    if (dtype === 'bool') return i % 2
    return array === Float32Array || array === Float64Array ? Math.PI * (i + 1) : i + 1
  }
  const data = new array(length)
  for (let i = 0; i < length; i++) data[i] = value(i) as never
  return { dtype, dims, data }
}

/** Dtypes whose elements are not packed. */
export const byBytes = (Object.keys(dtypes) as DType[]).filter((dtype) => dtypes[dtype].bits !== 4)
export const without = (...left: readonly DType[]): DType[] => byBytes.filter((dtype) => !left.includes(dtype))

export const someDims = [[], [5], [2, 3], [0, 3]] as const

/** Milliseconds that the fastest of some calls takes: on a busy machine most of them wait for the processor. */
export async function fastest(times: number, call: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < times; i++) {
    const began = performance.now()
    await call()
    least = Math.min(least, performance.now() - began)
  }
  return least
}
