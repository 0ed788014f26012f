import { OnnxIreError } from '../util/errors.js'
import { type DType, dtypes, type TypedArray } from './dtype.js'

/** Elements of a tensor in row-major order; strings only for dtype 'string'. */
export type TensorData = TypedArray | readonly string[]

/** A tensor on the host. `data` may be decoded when first read: hold the tensor, not the data, until it is needed. */
export interface Tensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: TensorData
}

export const sizeOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1)

/**
 * A tensor over existing elements. Throws `invalid-shape` when their number does not fit `dims`, `invalid-data` when they
 * are not in the array class of the dtype.
 */
export function tensor(dtype: DType, dims: readonly number[], data: TensorData): Tensor {
  const { array } = dtypes[dtype]
  if (!(data instanceof (array ?? Array)))
    throw new OnnxIreError(
      'invalid-data',
      `a ${dtype} tensor has its elements in ${array === null ? 'an array of strings' : `a ${array.name}`}, not a ${Object(data).constructor?.name}`,
    )
  const elements = dtypes[dtype].bits === 4 ? Math.ceil(sizeOf(dims) / 2) : sizeOf(dims)
  if (data.length !== elements) {
    throw new OnnxIreError(
      'invalid-shape',
      `a ${dtype} tensor [${dims.join(', ')}] needs ${elements} elements, not ${data.length}`,
    )
  }
  return { dtype, dims, data }
}

/** Entries `from` up to but without `to` of the first axis, in elements of their own. Not for 4-bit types. */
export function rowsOf({ dtype, dims, data }: Tensor, from: number, to: number): Tensor {
  const width = sizeOf(dims.slice(1))
  return {
    dtype,
    dims: [to - from, ...dims.slice(1)],
    data: (data as TypedArray | readonly string[]).slice(from * width, to * width),
  }
}

/** Tensors by graph input or output name. */
export type Tensors = Readonly<Record<string, Tensor>>
