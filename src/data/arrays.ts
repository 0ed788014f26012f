import { type DType, dtypes, type TypedArray } from '../ir/dtype.js'
import { sizeOf, type Tensor, type TensorData, type Tensors } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { checkIndices, type Dataset } from './dataset.js'

/** One tensor of every example, made when asked for: the leading axis of `rows` counts the indices. */
export interface DataColumn {
  readonly length: number
  /** The tensors of these examples, one behind the other. */
  rows(indices: ArrayLike<number>): Tensor
  /** Columns it brings along under names of their own, such as the mask of `padded`. */
  readonly companions?: Readonly<Record<string, DataColumn>> | undefined
}

/**
 * What `arrays` takes for one name, example by example along the leading axis: a tensor; elements and dims, where the
 * dtype follows from the array's class; a typed array, one element per example; or a column such as `images` makes.
 */
export type ColumnSource =
  | DataColumn
  | Tensor
  | TypedArray
  | { readonly dims: readonly number[]; readonly data: TensorData }

/**
 * A data set in memory. Dtypes stay as they are, and nothing is copied before a batch is asked for.
 *
 * ```ts
 * arrays({ image: images(pixels, { size: 48, channels: 3 }), label: labels(digits) })
 * arrays({ input: { dims: [1000, 16], data: floats }, label: labels([0, 2, 1, ...]) })
 * ```
 * @throws 'invalid-data' naming the entry whose data do not fit its dims, or the two that disagree on the number of examples
 */
export function fromArrays(columns: Readonly<Record<string, ColumnSource>>): Dataset {
  const entries = Object.entries(columns).flatMap(([name, like]) => {
    const column = toColumn(name, like)
    return [[name, column] as const, ...Object.entries(column.companions ?? {})]
  })
  const names = entries.map(([name]) => name)
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined)
    throw new OnnxIreError(
      'invalid-data',
      `arrays: there are two tensors named '${twice}', one of them a mask: rename it`,
    )
  const [first, ...others] = entries
  if (!first) throw new OnnxIreError('invalid-data', 'arrays: a data set needs at least one tensor')
  const length = first[1].length
  for (const [name, column] of others) {
    if (column.length !== length)
      throw new OnnxIreError(
        'invalid-data',
        `arrays: '${first[0]}' has ${length} examples and '${name}' has ${column.length}; they must have as many`,
      )
  }
  return {
    length,
    batch(indices): Tensors {
      checkIndices(indices, length)
      return Object.fromEntries(entries.map(([name, column]) => [name, column.rows(indices)]))
    },
  }
}

/**
 * Class numbers as an int64 tensor [n], the form classification losses take.
 * @param values whole numbers, or a tensor of integers (its shape is kept)
 * @throws 'invalid-data' naming the first value that is no whole number
 */
export function labelColumn(values: ArrayLike<number | bigint> | Tensor): Tensor {
  const { dims, data } = 'dtype' in values ? values : { dims: [values.length], data: values }
  const whole = new BigInt64Array(data.length)
  for (let i = 0; i < data.length; i++) {
    const value = data[i]
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value))
      throw new OnnxIreError('invalid-data', `label ${i} is ${value}; labels are whole numbers`)
    whole[i] = BigInt(value!)
  }
  return { dtype: 'int64', dims, data: whole }
}

function toColumn(name: string, like: ColumnSource): DataColumn {
  const refuse = (what: string) => new OnnxIreError('invalid-data', `arrays: '${name}' ${what}`)
  if (typeof like !== 'object' || like === null) throw refuse(`is ${like}, not a tensor`)
  if ('rows' in like) return like
  const { dims, data } = 'dims' in like ? like : { dims: [like.length], data: like }
  if (!Array.isArray(dims) || !(ArrayBuffer.isView(data) || isStrings(data)))
    throw refuse('is neither a tensor, { dims, data } nor a typed array; for a list of class numbers use labels(...)')
  const dtype = 'dtype' in like ? like.dtype : dtypeOfArray(data)
  const shape = `[${dims.join(', ')}]`
  const length = dims[0]
  if (length === undefined || !dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw refuse(`has dims ${shape}; it needs a leading axis, one entry per example, and whole sizes`)
  if (dtype && !Object.hasOwn(dtypes, dtype)) throw refuse(`is of the unknown dtype '${dtype}'`)
  if (!dtype || !(data instanceof (dtypes[dtype].array ?? Array)))
    throw refuse(`is ${dtype ? `called ${dtype} but its data are` : 'given as'} a ${data.constructor.name}`)
  const bits = sizeOf(dims.slice(1)) * dtypes[dtype].bits
  const elements = dtypes[dtype].bits === 4 ? (length * bits) / 8 : sizeOf(dims)
  if (bits % 8 !== 0) throw refuse(`is ${dtype} ${shape}: its examples do not end at whole bytes`)
  if (data.length !== elements)
    throw refuse(`has dims ${shape}, which take ${elements} elements, but its data have ${data.length}`)
  return { length, rows: (indices) => gatherRows({ dtype, dims, data }, indices) }
}

const isStrings = (data: unknown) => Array.isArray(data) && data.every((text) => typeof text === 'string')

/** y[i] = x[indices[i]] along the leading axis, row by row as bytes whatever the dtype. */
function gatherRows({ dtype, dims, data }: Tensor, indices: ArrayLike<number>): Tensor {
  const [length = 0, ...rest] = dims
  const shape = [indices.length, ...rest]
  if (!ArrayBuffer.isView(data)) {
    const width = sizeOf(rest)
    const rows = Array.from(indices, (index) => data.slice(index * width, (index + 1) * width))
    return { dtype, dims: shape, data: rows.flat() }
  }
  const width = data.byteLength / Math.max(length, 1)
  const from = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const to = new Uint8Array(indices.length * width)
  for (let i = 0; i < indices.length; i++) {
    const at = indices[i]! * width
    to.set(from.subarray(at, at + width), i * width)
  }
  const { array: Elements } = dtypes[dtype]
  return { dtype, dims: shape, data: new Elements!(to.buffer, 0, to.byteLength / data.BYTES_PER_ELEMENT) }
}

/** The dtype that a bare array most likely means: float16, bfloat16, bool and the 4-bit types have to be said. */
export const dtypeOfArray = (data: TensorData): DType | undefined =>
  ArrayBuffer.isView(data) ? byClass.find((dtype) => data instanceof (dtypes[dtype].array ?? Array)) : 'string'

const byClass = (Object.keys(dtypes) as DType[]).filter(
  (d) => !['float16', 'bfloat16', 'bool', 'int4', 'uint4'].includes(d),
)
