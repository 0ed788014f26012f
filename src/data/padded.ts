import { type DType, dtypes } from '../ir/dtype.js'
import { tensorFrom } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import type { Column } from './arrays.js'
import { dtypeOfArray } from './elements.js'
import { checkPad, type PadOptions, padMask, padTensors, type Row } from './pad.js'

/**
 * A column of rows that differ in length, such as token numbers: [n, T] with T the longest of the batch, or [n, T, ...] for
 * rows [t, ...] such as spectrogram frames. With `mask`, the attention mask comes along under that name.
 *
 * ```ts
 * arrays({ input_ids: padded([[5, 6, 7], [8]], { mask: 'attention_mask' }), label: labels([0, 1]) })
 * ```
 * @param rows lists of whole numbers become int64; typed arrays and tensors keep their dtype
 * @throws 'invalid-option', or 'invalid-data' naming the row
 */
export function padded(rows: ArrayLike<Row>, options: PadOptions = {}): Column {
  checkPad('padded', options)
  const tensors = Array.from(rows, rowOf)
  const pick = (indices: ArrayLike<number>) => Array.from(indices, (index) => tensors[index]!)
  const label = (indices: ArrayLike<number>) => (i: number) => `padded: row ${indices[i]}`
  const column = {
    length: tensors.length,
    rows: (indices: ArrayLike<number>) => padTensors(pick(indices), options, label(indices)),
  }
  if (options.mask === undefined) return column
  const mask = {
    length: tensors.length,
    rows: (indices: ArrayLike<number>) => padMask(pick(indices), options, label(indices)),
  }
  return { ...column, beside: { [options.mask]: mask } }
}

function rowOf(row: Row, i: number): Tensor {
  if (Array.isArray(row)) {
    const odd = row.findIndex((value) => !Number.isSafeInteger(value))
    if (odd < 0) return tensorFrom('int64', [row.length], row)
    throw new OnnxIreError(
      'invalid-data',
      `padded: entry ${odd} of row ${i} is ${row[odd]}; lists are whole numbers, other numbers take a Float32Array`,
    )
  }
  const given = row as Exclude<Row, readonly number[]>
  const tensor = ArrayBuffer.isView(given) ? viewed(given) : given
  if (tensor && Object.hasOwn(dtypes, tensor.dtype) && tensor.data.length === sizeOf(tensor.dims)) return tensor
  throw new OnnxIreError(
    'invalid-data',
    `padded: row ${i} is neither a list of whole numbers, a typed array nor a tensor [t, ...] with as many elements as its dims say`,
  )
}

function viewed(data: Exclude<Row, Tensor | readonly number[]>): Tensor | undefined {
  const dtype: DType | undefined = dtypeOfArray(data)
  return dtype && { dtype, dims: [data.length], data }
}
