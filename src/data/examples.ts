import { dtypes, type TypedArray } from '../ir/dtype.js'
import { sizeOf, type Tensor, type Tensors } from '../ir/tensor.js'
import { checkNames } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { dtypeOfArray } from './arrays.js'
import { checkIndices, type Dataset } from './dataset.js'
import { checkPad, type PadOptions, padRows } from './padding.js'

/**
 * One example: by name a tensor without the axis that counts examples, a typed array for a tensor of rank 1 (dtype by its
 * class), or a scalar: a number is float32, a bigint int64 (class numbers), a text string.
 */
export type DataExample = Readonly<Record<string, Tensor | TypedArray | number | bigint | string>>

/**
 * Examples as a batch: y[i] = example i, along a new leading axis; what `padding` names may differ in length.
 * @throws 'invalid-data' naming the tensor and the two examples that differ
 */
export function stackExamples(
  examples: readonly DataExample[],
  indices: ArrayLike<number>,
  padding: Readonly<Record<string, PadOptions>> = {},
): Tensors {
  const names = Object.keys(examples[0] ?? {})
  for (const [i, example] of examples.entries()) {
    const others = Object.keys(example)
    if (others.length !== names.length || !names.every((name) => Object.hasOwn(example, name)))
      throw new OnnxIreError(
        'invalid-data',
        `example ${indices[0]} has ${quoteNames(names)} and example ${indices[i]} has ${quoteNames(others)}; all must have the same`,
      )
  }
  const batch: Record<string, Tensor> = {}
  for (const name of names) {
    const rows = examples.map((example, i) => toTensor(example[name], () => `'${name}' of example ${indices[i]}`))
    const pad = Object.hasOwn(padding, name) ? padding[name] : undefined
    const label = (i: number) => `'${name}' of example ${indices[i]}`
    Object.assign(batch, pad ? padRows(name, rows, pad, label) : { [name]: stackTensors(rows, label) })
  }
  for (const [name, { mask }] of Object.entries(padding)) {
    if (mask !== undefined && names.includes(mask))
      throw new OnnxIreError(
        'invalid-data',
        `the mask of '${name}' is to be '${mask}', which the examples have already`,
      )
    if (!names.includes(name))
      throw new OnnxIreError(
        'invalid-data',
        `padding is given for '${name}', but the examples have ${quoteNames(names)}`,
      )
  }
  return batch
}

/** An entry of an example as a tensor. */
function toTensor(value: DataExample[string] | undefined, label: () => string): Tensor {
  if (typeof value === 'number') return { dtype: 'float32', dims: [], data: Float32Array.of(value) }
  if (typeof value === 'bigint') return { dtype: 'int64', dims: [], data: BigInt64Array.of(value) }
  if (typeof value === 'string') return { dtype: 'string', dims: [], data: [value] }
  if (ArrayBuffer.isView(value)) {
    const dtype = dtypeOfArray(value)
    if (dtype) return { dtype, dims: [value.length], data: value }
  } else if (typeof value === 'object' && value !== null && Object.hasOwn(dtypes, value.dtype)) {
    if (dtypes[value.dtype].bits === 4)
      throw new OnnxIreError('invalid-data', `${label()} is ${value.dtype}, whose elements cannot be stacked: use int8`)
    if (value.data.length === sizeOf(value.dims)) return value
    throw new OnnxIreError(
      'invalid-data',
      `${label()} has dims [${value.dims.join(', ')}], which take ${sizeOf(value.dims)} elements, but its data have ${value.data.length}`,
    )
  }
  throw new OnnxIreError(
    'invalid-data',
    `${label()} is ${value === null ? 'null' : typeof value}, not a tensor, a typed array, a number or a text`,
  )
}

function stackTensors(rows: readonly Tensor[], label: (row: number) => string): Tensor {
  const { dtype, dims } = rows[0]!
  const size = sizeOf(dims)
  for (const [i, row] of rows.entries())
    if (row.dtype !== dtype || row.dims.length !== dims.length || row.dims.some((dim, axis) => dim !== dims[axis]))
      throw new OnnxIreError(
        'invalid-data',
        `${label(0)} is ${dtype} [${dims.join(', ')}] and ${label(i)} is ${row.dtype} [${row.dims.join(', ')}]; ` +
          'a batch stacks equal shapes: resize them, or give padding for what differs in length',
      )
  const { array: Elements } = dtypes[dtype]
  if (!Elements) return { dtype, dims: [rows.length, ...dims], data: rows.flatMap(({ data }) => [...data].map(String)) }
  const data = new Elements(rows.length * size)
  for (const [i, row] of rows.entries()) copyInto(data, row.data, i * size)
  return { dtype, dims: [rows.length, ...dims], data }
}

/** Elements of one class from one array into another. */
export function copyInto(to: TypedArray, from: Tensor['data'], at: number): void {
  const bytes = new Uint8Array(to.buffer, to.byteOffset, to.byteLength)
  if (ArrayBuffer.isView(from))
    bytes.set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength), at * to.BYTES_PER_ELEMENT)
}

const quoteNames = (names: readonly string[]) => names.map((name) => `'${name}'`).join(', ') || 'nothing'

/**
 * A data set over a list of examples in memory, for those that come one by one or differ in length.
 *
 * ```ts
 * datasetOf(rows.map(({ tokens, label }) => ({ input_ids: BigInt64Array.from(tokens), label: BigInt(label) })), {
 *   padding: { input_ids: { mask: 'attention_mask' } },
 * })
 * ```
 * @throws 'invalid-option'; when a batch is made, 'invalid-data' naming the example unlike the others
 */
export function fromExamples(
  examples: readonly DataExample[],
  options: { readonly padding?: Readonly<Record<string, PadOptions>> | undefined } = {},
): Dataset {
  checkNames('datasetOf', options, ['padding'])
  for (const [name, pad] of Object.entries(options.padding ?? {})) checkPad(`datasetOf: padding of '${name}'`, pad)
  return {
    length: examples.length,
    batch(indices) {
      checkIndices(indices, examples.length)
      return stackExamples(
        Array.from(indices, (index) => examples[index]!),
        indices,
        options.padding,
      )
    },
  }
}
