import { dtypes, type TypedArray } from '../ir/dtype.js'
import { checksumTensor, sizeOf, type Tensor, type Tensors } from '../ir/tensor.js'
import { bytesOf } from '../util/bytes.js'
import { checkNames } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord, getOwn } from '../util/record.js'
import { dtypeOfArray } from './arrays.js'
import { checkIndices, type Dataset } from './dataset.js'
import { checkPad, type PadOptions, padRows } from './padding.js'

/**
 * Example of a data set: tensors by name, without the axis of examples. A typed array is a tensor of rank 1 (with the
 * dtype of its class); a number is a float32 scalar, a bigint an int64 scalar (class numbers), and a string a string
 * scalar.
 */
export type DataExample = Readonly<Record<string, Tensor | TypedArray | number | bigint | string>>

/**
 * Stacks examples along a new leading axis to a batch; tensors with `padding` may differ in length.
 * @throws OnnxIreError `invalid-data` with the tensor and the two examples that differ
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
        `example ${indices[0]} has ${quoteNames(names)} and example ${indices[i]} has ${quoteNames(others)}; all examples must have the same names`,
      )
  }
  const batch: Record<string, Tensor> = emptyRecord()
  for (const name of names) {
    const rows = examples.map((example, i) =>
      toTensor(getOwn(example, name), () => `'${name}' of example ${indices[i]}`),
    )
    const pad = getOwn(padding, name)
    const label = (i: number) => `'${name}' of example ${indices[i]}`
    Object.assign(batch, pad ? padRows(name, rows, pad, label) : { [name]: stackTensors(rows, label) })
  }
  const taken = new Set(names)
  for (const [name, { mask }] of Object.entries(padding)) {
    if (mask !== undefined && taken.has(mask))
      throw new OnnxIreError(
        'invalid-data',
        `padding of '${name}': ${names.includes(mask) ? 'the examples already have a tensor' : 'another tensor has a mask'} named '${mask}', the name of the mask`,
      )
    if (mask !== undefined) taken.add(mask)
    if (!names.includes(name))
      throw new OnnxIreError(
        'invalid-data',
        `padding of '${name}': there is no such tensor; the examples have ${quoteNames(names)}`,
      )
  }
  return batch
}

/** Converts an entry of an example to a tensor. */
function toTensor(value: DataExample[string] | undefined, label: () => string): Tensor {
  if (typeof value === 'number') return { dtype: 'float32', dims: [], data: Float32Array.of(value) }
  if (typeof value === 'bigint') return { dtype: 'int64', dims: [], data: BigInt64Array.of(value) }
  if (typeof value === 'string') return { dtype: 'string', dims: [], data: [value] }
  if (ArrayBuffer.isView(value)) {
    const dtype = dtypeOfArray(value)
    if (dtype) return { dtype, dims: [value.length], data: value }
  } else if (typeof value === 'object' && value !== null && Object.hasOwn(dtypes, value.dtype)) {
    if (dtypes[value.dtype].bits === 4)
      throw new OnnxIreError('invalid-data', `${label()} is ${value.dtype}, which cannot be stacked; use int8`)
    if (value.data.length === sizeOf(value.dims)) return value
    throw new OnnxIreError(
      'invalid-data',
      `${label()} has dims [${value.dims.join(', ')}], which require ${sizeOf(value.dims)} elements, but its data have ${value.data.length}`,
    )
  }
  throw new OnnxIreError(
    'invalid-data',
    `${label()} is ${value === null ? 'null' : typeof value}, not a tensor, a typed array, a number, a bigint or a string`,
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
          'a batch requires equal shapes; resize the tensors, or pad them with the option padding',
      )
  const { array: Elements } = dtypes[dtype]
  if (!Elements) return { dtype, dims: [rows.length, ...dims], data: rows.flatMap(({ data }) => [...data].map(String)) }
  const data = new Elements(rows.length * size)
  for (const [i, row] of rows.entries()) copyInto(data, row.data, i * size)
  return { dtype, dims: [rows.length, ...dims], data }
}

/** Copies all elements of an array into another of the same class, from position `at`. */
function copyInto(to: TypedArray, from: Tensor['data'], at: number): void {
  if (ArrayBuffer.isView(from)) bytesOf(to).set(bytesOf(from), at * to.BYTES_PER_ELEMENT)
}

const quoteNames = (names: readonly string[]) => names.map((name) => `'${name}'`).join(', ') || 'nothing'

/** Name and checksum of a tensor of an example. */
const contentsOf = (example: DataExample, i: number, name: string): readonly [string, string] => [
  name,
  checksumTensor(toTensor(getOwn(example, name), () => `'${name}' of example ${i}`)),
]

/**
 * Creates a data set from a list of examples in memory, which may differ in length.
 * @throws OnnxIreError `invalid-option`; when a batch is loaded, `invalid-data` with the example that differs
 * @example
 * ```ts
 * fromExamples(rows.map(({ tokens, label }) => ({ input_ids: BigInt64Array.from(tokens), label: BigInt(label) })), {
 *   padding: { input_ids: { mask: 'attention_mask' } },
 * })
 * ```
 */
export function fromExamples(
  examples: readonly DataExample[],
  options: { readonly padding?: Readonly<Record<string, PadOptions>> | undefined } = {},
): Dataset {
  checkNames('fromExamples', options, ['padding'])
  for (const [name, pad] of Object.entries(options.padding ?? {})) checkPad(`fromExamples: padding of '${name}'`, pad)
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
    checksum: () =>
      checksum(examples.flatMap((example, i) => Object.keys(example).flatMap((name) => contentsOf(example, i, name)))),
    identify: () => {
      // A single integer is the class; another class may change the numbers of all others.
      const integers = Object.entries(examples[0] ?? {}).flatMap(([name, x]) => (typeof x === 'bigint' ? [name] : []))
      const label = integers.length === 1 ? integers[0]! : undefined
      return {
        classes: label === undefined ? undefined : examples.map((example) => getOwn(example, label) as bigint),
        keys: examples.map((example, i) =>
          checksum(Object.keys(example).flatMap((name) => (name === label ? [] : contentsOf(example, i, name)))),
        ),
      }
    },
  }
}

/** Computes the checksum of an example. */
export const checksumExample = (example: DataExample): string =>
  checksum(Object.keys(example).flatMap((name) => contentsOf(example, 0, name)))
