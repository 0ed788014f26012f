import { type DType, dtypes, type TypedArray } from '../ir/dtype.js'
import { checksumTensor, sizeOf, type Tensor, type TensorData, type Tensors } from '../ir/tensor.js'
import { bytesOf } from '../util/bytes.js'
import { isStringList } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { checkIndices, type Dataset, type ExampleIdentity } from './dataset.js'

/** Column of a data set: one tensor per example, created on demand. */
export interface DataColumn {
  readonly length: number
  /** Tensors of these examples, stacked along a leading axis. */
  rows(indices: ArrayLike<number>): Tensor
  /** Computes a checksum of the examples; see `Dataset`. */
  readonly checksum?: (() => string) | undefined
  /** The elements of a column of class numbers, int64 [n]. */
  readonly classes?: ArrayLike<bigint> | undefined
  /** The elements of one example, if they are in memory, for `split`. */
  readonly contents?: ((index: number) => readonly (string | ArrayBufferView)[]) | undefined
  /** Further columns of the data set, by name, such as the mask of `paddedColumn`. */
  readonly companions?: Readonly<Record<string, DataColumn>> | undefined
}

/**
 * Source of a column of `fromArrays`, with examples along the leading axis: a tensor; elements with dims, the dtype
 * following from the array's class; a typed array with one element per example; or a column, from `imageColumn` for
 * example.
 */
export type ColumnSource =
  | DataColumn
  | Tensor
  | TypedArray
  | { readonly dims: readonly number[]; readonly data: TensorData }

/**
 * Creates a data set from arrays in memory, by tensor name. Dtypes are preserved, and arrays are copied batch by batch.
 * @throws OnnxIreError `invalid-data` if the data of a column do not fit its dims, or two columns have different
 * numbers of examples
 * @example
 * ```ts
 * fromArrays({ image: imageColumn(pixels, { size: 48, channels: 3 }), label: labelColumn(digits) })
 * fromArrays({ input: { dims: [1000, 16], data: floats }, label: labelColumn([0, 2, 1, ...]) })
 * ```
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
      `fromArrays: two tensors have the name '${twice}', one of them a mask; rename it`,
    )
  const [first, ...others] = entries
  if (!first) throw new OnnxIreError('invalid-data', 'fromArrays: a data set needs at least one tensor')
  const length = first[1].length
  for (const [name, column] of others) {
    if (column.length !== length)
      throw new OnnxIreError(
        'invalid-data',
        `fromArrays: '${first[0]}' has ${length} examples and '${name}' has ${column.length}; the numbers must be equal`,
      )
  }
  return {
    length,
    batch(indices): Tensors {
      checkIndices(indices, length)
      return Object.fromEntries(entries.map(([name, column]) => [name, column.rows(indices)]))
    },
    identify: () => identifyByContents(entries.map(([, column]) => column)),
    checksum: () => checksum(entries.flatMap(([name, column]) => [name, column.checksum?.() ?? ''])),
  }
}

/**
 * Converts class numbers to an int64 tensor [n], as classification losses expect.
 * @param values integers, or a tensor of integers, whose shape is preserved
 * @throws OnnxIreError `invalid-data` with the first value that is not an integer
 */
export function labelColumn(values: ArrayLike<number | bigint> | Tensor): Tensor {
  const { dims, data } = 'dtype' in values ? values : { dims: [values.length], data: values }
  const numbers = new BigInt64Array(data.length)
  for (let i = 0; i < data.length; i++) {
    const value = data[i]
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value))
      throw new OnnxIreError('invalid-data', `label ${i} is ${value}; labels must be integers`)
    numbers[i] = BigInt(value!)
  }
  return { dtype: 'int64', dims, data: numbers }
}

/**
 * Identifies examples by their elements, if all are in memory. A single column of class numbers, int64 [n], is their
 * class: it is not part of the key, since another class may change the numbers of all others.
 */
function identifyByContents(columns: readonly DataColumn[]): ExampleIdentity {
  const labels = columns.filter(({ classes }) => classes)
  const label = labels.length === 1 ? labels[0]! : undefined
  const contents = columns.flatMap((column) => (column === label ? [] : [column.contents]))
  const isInMemory = contents.length > 0 && contents.every((read) => read !== undefined)
  const { length } = columns[0]!
  return {
    classes: label?.classes,
    keys: isInMemory ? Array.from({ length }, (_, i) => checksum(contents.flatMap((read) => read(i)))) : undefined,
  }
}

function toColumn(name: string, like: ColumnSource): DataColumn {
  const invalid = (problem: string) => new OnnxIreError('invalid-data', `fromArrays: '${name}' ${problem}`)
  if (typeof like !== 'object' || like === null) throw invalid(`is ${like}, not a tensor`)
  if ('rows' in like) return like
  const { dims, data } = 'dims' in like ? like : { dims: [like.length], data: like }
  if (!Array.isArray(dims) || !(ArrayBuffer.isView(data) || isStringList(data)))
    throw invalid(
      'must be a tensor, { dims, data } or a typed array; convert a list of class numbers with labelColumn(...)',
    )
  const dtype = 'dtype' in like ? like.dtype : dtypeOfArray(data)
  const shape = `[${dims.join(', ')}]`
  const length = dims[0]
  if (length === undefined || !dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw invalid(`has dims ${shape}; it needs a leading axis of examples, and integer sizes`)
  if (dtype && !Object.hasOwn(dtypes, dtype)) throw invalid(`has the unknown dtype '${dtype}'`)
  if (!dtype || !(data instanceof (dtypes[dtype].array ?? Array)))
    throw invalid(`has ${dtype ? `dtype ${dtype}, but ` : ''}data in a ${data.constructor.name}`)
  const bits = sizeOf(dims.slice(1)) * dtypes[dtype].bits
  const elements = dtypes[dtype].bits === 4 ? (length * bits) / 8 : sizeOf(dims)
  if (bits % 8 !== 0) throw invalid(`is ${dtype} ${shape}: an example must fill whole bytes`)
  if (data.length !== elements)
    throw invalid(`has dims ${shape}, which require ${elements} elements, but its data have ${data.length}`)
  return {
    length,
    rows: (indices) => gatherRows({ dtype, dims, data }, indices),
    classes: dims.length === 1 && data instanceof BigInt64Array ? data : undefined,
    contents: (index) => {
      const width = data.length / Math.max(length, 1)
      return ArrayBuffer.isView(data)
        ? [data.subarray(index * width, (index + 1) * width)]
        : data.slice(index * width, (index + 1) * width)
    },
    checksum: () => checksumTensor({ dtype, dims, data }),
  }
}

/** Gathers rows along the leading axis, y[i] = x[indices[i]], as bytes for every dtype. */
function gatherRows({ dtype, dims, data }: Tensor, indices: ArrayLike<number>): Tensor {
  const [length = 0, ...rest] = dims
  const shape = [indices.length, ...rest]
  if (!ArrayBuffer.isView(data)) {
    const width = sizeOf(rest)
    const rows = Array.from(indices, (index) => data.slice(index * width, (index + 1) * width))
    return { dtype, dims: shape, data: rows.flat() }
  }
  const width = data.byteLength / Math.max(length, 1)
  const from = bytesOf(data)
  const to = new Uint8Array(indices.length * width)
  for (let i = 0; i < indices.length; i++) {
    const at = indices[i]! * width
    to.set(from.subarray(at, at + width), i * width)
  }
  const { array: Elements } = dtypes[dtype]
  return { dtype, dims: shape, data: new Elements!(to.buffer, 0, to.byteLength / data.BYTES_PER_ELEMENT) }
}

/** Infers the dtype of an array from its class; float16, bfloat16, bool and 4-bit types cannot be inferred. */
export const dtypeOfArray = (data: TensorData): DType | undefined =>
  ArrayBuffer.isView(data) ? byClass.find((dtype) => data instanceof (dtypes[dtype].array ?? Array)) : 'string'

const byClass = (Object.keys(dtypes) as DType[]).filter(
  (d) => !['float16', 'bfloat16', 'bool', 'int4', 'uint4'].includes(d),
)
