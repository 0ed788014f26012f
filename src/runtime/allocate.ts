import { type DType, dtypes, type TypedArray } from '../ir/dtype.js'
import { OnnxIreError } from '../util/errors.js'

/** A zeroed array of `length` elements, two to a byte where they have four bits. Throws `invalid-data` for strings. */
export function allocate(dtype: DType, length: number, memory: 'own' | 'shared' = 'own'): TypedArray {
  const { array, bits } = dtypes[dtype]
  if (array === null) throw new OnnxIreError('invalid-data', 'strings have no typed array')
  const count = bits === 4 ? Math.ceil(length / 2) : length
  if (memory === 'own') return new array(count)
  return new array(new SharedArrayBuffer((count * Math.max(bits, 8)) / 8), 0, count)
}
