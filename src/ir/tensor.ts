import { bytesOf } from '../util/bytes.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { type DType, dtypes, type TypedArray } from './dtype.js'
import type { Shape } from './shape.js'

/** The elements of a tensor in row-major order; strings for dtype 'string' only. */
export type TensorData = TypedArray | readonly string[]

/** Whether elements are those of a tensor of dtype 'string'. */
export const isStrings = (data: TensorData): data is readonly string[] => Array.isArray(data)

/** A tensor in host memory. `data` may be decoded when it is first read, so read it only when it is needed. */
export interface Tensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: TensorData
}

/** Formats the type of a tensor: 'float32 [2, 3]'. */
export const formatType = ({ dtype, dims }: Pick<Tensor, 'dtype' | 'dims'>): string => `${dtype} [${dims.join(', ')}]`

/** Computes a checksum of dtype, dims and elements. */
export const checksumTensor = ({ dtype, dims, data }: Tensor): string =>
  checksum([`${dtype} ${dims.join(' ')}`, ...(ArrayBuffer.isView(data) ? [data] : data)])

/** The number of elements of a tensor with these dims. */
export const sizeOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1)

/** The number of elements of several values, whose shapes are known. */
export const totalSizeOf = (values: Iterable<{ readonly shape: Shape | undefined }>): number =>
  [...values].reduce((sum, { shape }) => sum + sizeOf(shape as readonly number[]), 0)

/**
 * Creates a tensor from existing elements, without a copy. float16 and bfloat16 elements are bits in a Uint16Array,
 * 4-bit integers are packed two per byte, booleans are bytes.
 *
 * @throws OnnxIreError `invalid-shape` if the number of elements does not fit `dims`, `invalid-data` if `data` is not
 *   of the array class of the dtype
 *
 * @example
 * ```ts
 * const x = tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6))
 * ```
 */
export function tensor(dtype: DType, dims: readonly number[], data: TensorData): Tensor {
  const { array } = dtypes[dtype]
  if (!(data instanceof (array ?? Array)))
    throw new OnnxIreError(
      'invalid-data',
      `the elements of a ${dtype} tensor must be ${array === null ? 'an array of strings' : `a ${array.name}`}, got a ${Object(data).constructor?.name}`,
    )
  const elements = dtypes[dtype].bits === 4 ? Math.ceil(sizeOf(dims) / 2) : sizeOf(dims)
  if (data.length !== elements) {
    throw new OnnxIreError(
      'invalid-shape',
      `a ${dtype} tensor [${dims.join(', ')}] needs ${elements} elements, got ${data.length}`,
    )
  }
  return { dtype, dims, data }
}

/** Copies the rows [from, to) along the first axis. Not for 4-bit types. */
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

/** The bytes of a tensor as raw data: a view, so that a large tensor is not in memory twice. */
export function toRawBytes({ dtype, data }: Tensor): Uint8Array {
  if (!ArrayBuffer.isView(data)) throw new OnnxIreError('invalid-data', `a ${dtype} tensor has no raw bytes`)
  return bytesOf(data)
}
