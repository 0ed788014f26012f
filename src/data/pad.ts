import { dtypes, type TypedArray } from '../ir/dtype.js'
import { tensorFrom } from '../ir/leaf.js'
import type { Tensors } from '../ir/tensor.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { checkNames, checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'

/** How examples of different length along their first axis are made equal within a batch: filled up at their end. */
export interface PadOptions {
  /** What fills: the number of the padding token, or what the loss ignores. Default 0. */
  readonly value?: number | undefined
  /** Length of every batch. Longer examples are an error. Default: that of the longest example of the batch. */
  readonly length?: number | undefined
  /** Examples longer than this lose their end. Default: none does. */
  readonly maxLength?: number | undefined
  /** Rounds the length of a batch up to a multiple of this, so that fewer different shapes arise. Default 1. */
  readonly multipleOf?: number | undefined
  /** Name for the attention mask that goes with it: int64 [n, length], 1 for what is there and 0 for what fills. */
  readonly mask?: string | undefined
}

export const padNames = ['value', 'length', 'maxLength', 'multipleOf', 'mask']

/** Refuses impossible options as 'invalid-option'. */
export function checkPad(owner: string, options: PadOptions): void {
  checkNames(owner, options, padNames)
  const { value, length, maxLength, multipleOf } = options
  for (const [name, size] of Object.entries({ length, maxLength, multipleOf }))
    if (size !== undefined) checkNumber(owner, name, size, positiveCount)
  if (value !== undefined) checkNumber(owner, 'value', value, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE })
}

/**
 * Rows [t_i, ...] as one tensor [n, T, ...] under `name`, and their mask, if one is asked for. T is at least 1.
 * @param label names row i in errors
 * @throws 'invalid-data' naming the row that is longer than `length`, or unlike the first in more than its length
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

export function padTensors(rows: readonly Tensor[], options: PadOptions, label: (row: number) => string): Tensor {
  checkAlike(rows, label)
  const { dtype, dims } = rows[0]!
  const [lengths, longest] = lengthsOf(rows, options, label)
  const width = sizeOf(dims.slice(1))
  const data = new dtypes[dtype].array!(rows.length * longest * width)
  if (options.value) data.fill(tensorFrom(dtype, [], [options.value]).data[0] as never) // bigint or number, as `data` holds
  for (const [i, row] of rows.entries())
    (data as Float32Array).set((row.data as Float32Array).subarray(0, lengths[i]! * width), i * longest * width)
  return { dtype, dims: [rows.length, longest, ...dims.slice(1)], data }
}

/** m[i, t] = 1 where t < t_i, else 0: int64 [n, T]. */
export function padMask(rows: readonly Tensor[], options: PadOptions, label: (row: number) => string): Tensor {
  const [lengths, longest] = lengthsOf(rows, options, label)
  const data = new BigInt64Array(rows.length * longest)
  for (const [i, length] of lengths.entries()) data.fill(1n, i * longest, i * longest + length)
  return { dtype: 'int64', dims: [rows.length, longest], data }
}

function lengthsOf(
  rows: readonly Tensor[],
  { length, maxLength = Number.POSITIVE_INFINITY, multipleOf = 1 }: PadOptions,
  label: (row: number) => string,
): [lengths: number[], longest: number] {
  const lengths = rows.map(({ dims }) => Math.min(dims[0] ?? 0, maxLength))
  const longest = lengths.reduce((max, each) => Math.max(max, each), 1)
  if (length === undefined) return [lengths, Math.ceil(longest / multipleOf) * multipleOf]
  if (longest <= length) return [lengths, length]
  throw new OnnxIreError(
    'invalid-data',
    `${label(lengths.indexOf(longest))} has length ${longest}, more than the ${length} that the padding's 'length' gives every batch: ` +
      `raise it, or set maxLength: ${length} to cut`,
  )
}

function checkAlike(rows: readonly Tensor[], label: (row: number) => string): void {
  const [first] = rows
  const shown = ({ dtype, dims }: Tensor) => `${dtype} [${dims.join(', ')}]`
  for (const [i, row] of rows.entries()) {
    if (row.dims.length === 0)
      throw new OnnxIreError('invalid-data', `${label(i)} is a scalar, which has no length to pad`)
    if (!dtypes[row.dtype].array || dtypes[row.dtype].bits === 4)
      throw new OnnxIreError('invalid-data', `${label(i)} is ${row.dtype}, which cannot be padded`)
    if (
      row.dtype !== first!.dtype ||
      row.dims.length !== first!.dims.length ||
      row.dims.some((d, axis) => axis > 0 && d !== first!.dims[axis])
    )
      throw new OnnxIreError(
        'invalid-data',
        `${label(0)} is ${shown(first!)} and ${label(i)} is ${shown(row)}; they may differ along their first axis only`,
      )
  }
}

/** A row of `padded`: numbers (int64), a typed array, or a tensor [t, ...]. */
export type Row = Tensor | TypedArray | readonly number[]
