import { type DType, isHalf } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * Converts a tensor between int64 and int32, or between float16 and float32; tensors of other types are returned
 * unchanged.
 * Throws `invalid-data` with the tensor's name for integers beyond 32 bits.
 */
export function convertTensor(name: string, tensor: Tensor, to: DType): Tensor {
  const { dtype, dims, data } = tensor
  if (dtype === 'int64' && to === 'int32') return { dtype: to, dims, data: narrow(name, data as BigInt64Array) }
  if (dtype === 'int32' && to === 'int64')
    return { dtype: to, dims, data: BigInt64Array.from(data as Int32Array, BigInt) }
  if ((isHalf(dtype) && to === 'float32') || (dtype === 'float32' && isHalf(to)))
    return tensorFrom(to, dims, numbersOf(tensor))
  return tensor
}

function narrow(name: string, data: BigInt64Array): Int32Array {
  const result = new Int32Array(data.length)
  for (let i = 0; i < data.length; i++) {
    const element = Number(data[i])
    result[i] = element
    if (result[i] !== element) throw tooLong(`input '${name}'`, `${data[i]}`)
  }
  return result
}

/**
 * Converts a constant of a graph to int32. The limits of int64 become the limits of int32, because they mean "no
 * bound". Throws `invalid-data` with the constant's name for other integers beyond 32 bits.
 */
export function narrowConstant(tensor: Tensor, name?: string): Tensor {
  const numbers = numbersOf(tensor).map((x) => {
    if (Math.abs(x) === 2 ** 63) return x < 0 ? -(2 ** 31) : 2 ** 31 - 1
    if (x !== (x | 0)) throw tooLong(name ? `the constant '${name}'` : 'a constant of the model', `${x}`)
    return x
  })
  return tensorFrom('int32', tensor.dims, numbers)
}

const tooLong = (where: string, number: string) =>
  new OnnxIreError(
    'invalid-data',
    `${where}: ${number} exceeds 32 bits, and this provider has no larger integers: run the model on the CPU`,
  )
