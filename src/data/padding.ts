import { type DType, dtypes, type TypedArray } from '../ir/dtype.js'
import { tensorFrom } from '../ir/leaf.js'
import { checksumTensor, formatType, sizeOf, type Tensor, type Tensors } from '../ir/tensor.js'
import { checkNames, checkNumber, positiveCount } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { type DataColumn, dtypeOfArray } from './arrays.js'

/** Options of padding: rows of different length along their first axis are padded at their end to equal lengths. */
export interface PadOptions {
  /** Padding value: the number of the padding token, or a label that the loss ignores. Default 0. */
  readonly value?: number | undefined
  /** Length of every batch; longer examples are an error. Default: the longest example of the batch. */
  readonly length?: number | undefined
  /** Maximum length; longer examples are truncated at their end. Default: no truncation. */
  readonly maxLength?: number | undefined
  /**
   * Rounds the length of a batch up to a multiple of this number, at most to `maxLength`, for fewer distinct shapes.
   * Default 1.
   */
  readonly multipleOf?: number | undefined
  /** Name of an attention mask to create: int64 [n, length], 1 for elements and 0 for padding. Default: no mask. */
  readonly mask?: string | undefined
}

const padOptionNames = ['value', 'length', 'maxLength', 'multipleOf', 'mask']

/** Throws `invalid-option` for invalid padding options. */
export function checkPad(owner: string, options: PadOptions): void {
  checkNames(owner, options, padOptionNames)
  const { value, length, maxLength, multipleOf } = options
  for (const [name, size] of Object.entries({ length, maxLength, multipleOf }))
    if (size !== undefined) checkNumber(owner, name, size, positiveCount)
  if (value !== undefined) checkNumber(owner, 'value', value, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
}

/**
 * Pads rows [t_i, ...] to a tensor [n, T, ...] under `name`, with its mask if requested. T is at least 1.
 * @param label describes row i in errors
 * @throws OnnxIreError `invalid-data` with the row that is longer than `length`, or differs from the first in more than
 * its length
 */
export function padRows(
  name: string,
  rows: readonly Tensor[],
  options: PadOptions,
  label: (row: number) => string,
): Tensors {
  const tensor = padTensors(rows, options, label)
  return options.mask === undefined
    ? { [name]: tensor }
    : { [name]: tensor, [options.mask]: padMask(rows, options, label) }
}

function padTensors(rows: readonly Tensor[], options: PadOptions, label: (row: number) => string): Tensor {
  checkSameShape(rows, label)
  const { dtype, dims } = rows[0]!
  const [lengths, longest] = paddedLengths(rows, options, label)
  const width = sizeOf(dims.slice(1))
  const data = new dtypes[dtype].array!(rows.length * longest * width)
  if (options.value) data.fill(tensorFrom(dtype, [], [options.value]).data[0] as never) // bigint or number, as `data` holds
  for (const [i, row] of rows.entries())
    (data as Float32Array).set((row.data as Float32Array).subarray(0, lengths[i]! * width), i * longest * width)
  return { dtype, dims: [rows.length, longest, ...dims.slice(1)], data }
}

/** Creates the attention mask of padded rows: m[i, t] = 1 if t < t_i, else 0; int64 [n, T]. */
function padMask(rows: readonly Tensor[], options: PadOptions, label: (row: number) => string): Tensor {
  const [lengths, longest] = paddedLengths(rows, options, label)
  const data = new BigInt64Array(rows.length * longest)
  for (const [i, length] of lengths.entries()) data.fill(1n, i * longest, i * longest + length)
  return { dtype: 'int64', dims: [rows.length, longest], data }
}

function paddedLengths(
  rows: readonly Tensor[],
  { length, maxLength = Number.POSITIVE_INFINITY, multipleOf = 1 }: PadOptions,
  label: (row: number) => string,
): [lengths: number[], longest: number] {
  const lengths = rows.map(({ dims }) => Math.min(dims[0] ?? 0, maxLength))
  const longest = lengths.reduce((max, each) => Math.max(max, each), 1)
  if (length === undefined) return [lengths, Math.min(Math.ceil(longest / multipleOf) * multipleOf, maxLength)]
  if (longest <= length) return [lengths, length]
  throw new OnnxIreError(
    'invalid-data',
    `${label(lengths.indexOf(longest))} has length ${longest}, but the padding option 'length' is ${length}: ` +
      `raise it, or set maxLength: ${length} to truncate`,
  )
}

function checkSameShape(rows: readonly Tensor[], label: (row: number) => string): void {
  const [first] = rows
  for (const [i, row] of rows.entries()) {
    if (row.dims.length === 0) throw new OnnxIreError('invalid-data', `${label(i)} is a scalar, which cannot be padded`)
    if (!dtypes[row.dtype].array || dtypes[row.dtype].bits === 4)
      throw new OnnxIreError('invalid-data', `${label(i)} is ${row.dtype}, which cannot be padded`)
    if (
      row.dtype !== first!.dtype ||
      row.dims.length !== first!.dims.length ||
      row.dims.some((d, axis) => axis > 0 && d !== first!.dims[axis])
    )
      throw new OnnxIreError(
        'invalid-data',
        `${label(0)} is ${formatType(first!)} and ${label(i)} is ${formatType(row)}; only their first axis may differ`,
      )
  }
}

/** Row of `paddedColumn`: numbers (int64), a typed array, or a tensor [t, ...]. */
export type PaddedRow = Tensor | TypedArray | readonly number[]

/**
 * Creates a column of rows that differ in length, such as token numbers: [n, T] with the longest row T of the batch, or
 * [n, T, ...] for rows [t, ...] such as spectrogram frames. With `mask`, an attention mask is a further column of that
 * name.
 * @param rows lists of integers become int64; typed arrays and tensors keep their dtype
 * @throws OnnxIreError `invalid-option`, or `invalid-data` with the row
 * @example
 * ```ts
 * fromArrays({ input_ids: paddedColumn([[5, 6, 7], [8]], { mask: 'attention_mask' }), label: labelColumn([0, 1]) })
 * ```
 */
export function paddedColumn(rows: ArrayLike<PaddedRow>, options: PadOptions = {}): DataColumn {
  checkPad('paddedColumn', options)
  const tensors = Array.from(rows, rowTensor)
  const pick = (indices: ArrayLike<number>) => Array.from(indices, (index) => tensors[index]!)
  const label = (indices: ArrayLike<number>) => (i: number) => `paddedColumn: row ${indices[i]}`
  const column = {
    length: tensors.length,
    rows: (indices: ArrayLike<number>) => padTensors(pick(indices), options, label(indices)),
    checksum: () => checksum(tensors.map(checksumTensor)),
  }
  if (options.mask === undefined) return column
  const mask = {
    length: tensors.length,
    rows: (indices: ArrayLike<number>) => padMask(pick(indices), options, label(indices)),
  }
  return { ...column, companions: { [options.mask]: mask } }
}

function rowTensor(row: PaddedRow, i: number): Tensor {
  if (Array.isArray(row)) {
    const odd = row.findIndex((value) => !Number.isSafeInteger(value))
    if (odd < 0) return tensorFrom('int64', [row.length], row)
    throw new OnnxIreError(
      'invalid-data',
      `paddedColumn: entry ${odd} of row ${i} is ${row[odd]}; lists must be integers, for other numbers use a Float32Array`,
    )
  }
  const given = row as Exclude<PaddedRow, readonly number[]>
  const tensor = ArrayBuffer.isView(given) ? vectorTensor(given) : given
  if (tensor && Object.hasOwn(dtypes, tensor.dtype) && tensor.data.length === sizeOf(tensor.dims)) return tensor
  throw new OnnxIreError(
    'invalid-data',
    `paddedColumn: row ${i} must be a list of integers, a typed array, or a tensor [t, ...] whose data fit its dims`,
  )
}

function vectorTensor(data: Exclude<PaddedRow, Tensor | readonly number[]>): Tensor | undefined {
  const dtype: DType | undefined = dtypeOfArray(data)
  return dtype && { dtype, dims: [data.length], data }
}
