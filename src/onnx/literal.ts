import { isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'

/** Tensors of more elements are shown by their type alone. */
const SMALL = 16

/** The shortest decimal that reads back as the same number, taken as float32 when it is one: 0.00001, not 0.000009999999747378752. */
export function numberText(value: number): string {
  if (Number.isInteger(value) || Math.fround(value) !== value) return `${value}`
  for (let digits = 1; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits))
    if (Math.fround(shorter) === value) return `${shorter}`
  }
  return `${value}`
}

/** A small tensor with its elements, `int64[2] {1, 2}`, a scalar without brackets, `float32 {0.5}`; a larger one as `float32[64, 3]`. */
export function tensorText(tensor: Tensor): string {
  const { dtype, dims, data } = tensor
  const type = `${dtype}${dims.length === 0 ? '' : `[${dims.join(', ')}]`}`
  if (sizeOf(dims) > SMALL || dtype === 'int4' || dtype === 'uint4') return type
  const elements =
    dtype === 'string'
      ? Array.from(data as readonly string[], (text) => JSON.stringify(text))
      : isFloat(dtype)
        ? numbersOf(tensor).map(numberText)
        : Array.from(data as ArrayLike<number | bigint>, String)
  return `${type} {${elements.join(', ')}}`
}
