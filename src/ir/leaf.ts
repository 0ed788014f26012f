import { getFloat16, setFloat16 } from '@petamoriken/float16'
import { describeValue } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { type DType, dtypes, type TypedArray } from './dtype.js'
import { type Dim, type Shape, unknownDim } from './shape.js'
import { sizeOf, type Tensor, type TensorData } from './tensor.js'
import { Value } from './value.js'

/** Largest number of elements of a tensor whose elements are tracked as shape arithmetic; longer ones are data. */
export const maxContentsElements = 64

/**
 * Creates a graph input.
 *
 * @example
 * ```ts
 * const x = input('x', 'float32', ['N', 3, 224, 224])
 * ```
 */
export const input = (name: string, dtype: DType, shape: Shape | undefined): Value =>
  new Value({ dtype, shape }, { kind: 'input' }, 0, name)

/**
 * Creates a parameter: a named tensor that can be trained.
 *
 * @example
 * ```ts
 * const w = parameter('w', tensor('float32', [4, 3], new Float32Array(12)))
 * ```
 */
export const parameter = (name: string, tensor: Tensor): Value =>
  new Value({ dtype: tensor.dtype, shape: tensor.dims }, { kind: 'parameter', tensor }, 0, name)

/** Creates a constant: a tensor that is not trained. */
export const constant = (tensor: Tensor, name?: string): Value =>
  new Value({ dtype: tensor.dtype, shape: tensor.dims }, { kind: 'constant', tensor }, 0, name, contentsOf(tensor))

function contentsOf(tensor: Tensor): readonly Dim[] | undefined {
  if (tensor.dtype === 'string' || dtypes[tensor.dtype].bits === 4 || sizeOf(tensor.dims) > maxContentsElements)
    return undefined
  const { data } = tensor
  const numbers = numbersOf(tensor)
  // 64-bit integers that a JavaScript number cannot represent are unknown.
  return data instanceof BigInt64Array || data instanceof BigUint64Array
    ? numbers.map((x, i) => (toInt64(x) === data[i] ? x : unknownDim()))
    : numbers
}

/** The elements of a tensor as JavaScript numbers. 64-bit integers beyond 2^53 are rounded. */
export const numbersOf = ({ dtype, data }: Tensor): number[] =>
  Array.from(data as ArrayLike<number | bigint>, toNumber(dtype))

/** One element of a tensor as `numbersOf` returns it. */
export const numberAt = ({ dtype, data }: Tensor, index: number): number =>
  toNumber(dtype)((data as ArrayLike<number | bigint>)[index]!)

function toNumber(dtype: DType): (element: number | bigint) => number {
  if (dtype === 'bfloat16') return (bits) => bfloat16ToNumber(Number(bits))
  if (dtype === 'float16') return (bits) => float16ToNumber(Number(bits))
  return Number
}

const word = new DataView(new ArrayBuffer(4))
function float16ToNumber(bits: number): number {
  word.setUint16(0, bits)
  return getFloat16(word, 0)
}
function numberToFloat16(value: number): number {
  setFloat16(word, 0, value)
  return word.getUint16(0)
}
const single = new Float32Array(1)
const singleBits = new Int32Array(single.buffer)
/** The number of bfloat16 bits. */
export function bfloat16ToNumber(bits: number): number {
  singleBits[0] = bits << 16
  return single[0]!
}
/** The bits of a number rounded to bfloat16, to even if it is in the middle. */
export function numberToBfloat16(value: number): number {
  single[0] = value
  const bits = singleBits[0]!
  return Number.isNaN(value) ? 0x7fc0 : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

/**
 * Creates a tensor from JavaScript numbers, which are rounded to `dtype`. Throws `invalid-data` for strings and 4-bit
 * types.
 */
export function tensorFrom(dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor {
  return { dtype, dims, data: arrayFrom(dtype, values) }
}

/** The smallest magnitudes that are rounded to infinity. */
const beyond: ReadonlyMap<DType, number> = new Map([
  ['float16', 65520],
  ['bfloat16', 2 ** 128 - 2 ** 119],
  ['float32', 2 ** 128 - 2 ** 103],
])

/** Finds a finite number that would be rounded to infinity in a type. */
export function findTooLarge(dtype: DType, values: ArrayLike<number>): number | undefined {
  const limit = beyond.get(dtype) ?? Number.POSITIVE_INFINITY
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!)
    if (magnitude >= limit && magnitude < Number.POSITIVE_INFINITY) return values[i]
  }
  return undefined
}

/** Rounds the numbers of a tensor to another type, unless it has this type. */
export const castTensor = (tensor: Tensor, dtype: DType): Tensor =>
  tensor.dtype === dtype ? tensor : tensorFrom(dtype, tensor.dims, numbersOf(tensor))

function arrayFrom(dtype: DType, values: ArrayLike<number>): TensorData {
  const { array } = dtypes[dtype]
  if (dtype === 'float16') return Uint16Array.from(values, numberToFloat16)
  if (dtype === 'bfloat16') return Uint16Array.from(values, numberToBfloat16)
  if (array === null || dtypes[dtype].bits === 4)
    throw new OnnxIreError('invalid-data', `a ${dtype} tensor cannot be created from numbers`)
  const data: TypedArray = new array(values.length)
  const wide = data instanceof BigInt64Array || data instanceof BigUint64Array
  for (let i = 0; i < values.length; i++) data[i] = wide ? toInt64(values[i]!) : values[i]!
  return data
}

/**
 * Converts a number to a 64-bit integer. Numbers beyond the range saturate: INT64_MAX means "to the end" in a Slice,
 * and its nearest JavaScript number is 2^63. Throws `invalid-model` for NaN.
 */
export function toInt64(value: number): bigint {
  if (Number.isNaN(value)) throw new OnnxIreError('invalid-model', 'NaN is not an integer')
  return value >= 2 ** 63 ? 2n ** 63n - 1n : value <= -(2 ** 63) ? -(2n ** 63n) : BigInt(Math.trunc(value))
}

const internedLeaves = new Map<string, Value>()
const maxInterned = 4096

/**
 * Returns the constant of this key, and creates it if there is none. For small constants that rules create again and
 * again (axes, shapes, zeros and ones). The table is cleared when it is full.
 */
export function internConstant(key: string, make: () => Value): Value {
  let value = internedLeaves.get(key)
  if (value) return value
  if (internedLeaves.size >= maxInterned) internedLeaves.clear()
  value = make()
  internedLeaves.set(key, value)
  return value
}

/** Creates a constant scalar. */
export const scalar = (dtype: DType, value: number): Value =>
  internConstant(`${dtype} ${Object.is(value, -0) ? '-0' : value}`, () => constant(tensorFrom(dtype, [], [value])))

/** Creates a 1-D int64 constant (axes, shapes, pads). Throws `invalid-model` if `values` is not a list of integers. */
export function int64s(values: readonly number[]): Value {
  if (!Array.isArray(values) || !values.every(Number.isInteger))
    throw new OnnxIreError('invalid-model', `${describeValue(values)} is not a list of integers; see constant(tensor)`)
  return internConstant(`[${values}]`, () => constant(tensorFrom('int64', [values.length], values)))
}

/** The tensor of a constant; undefined for other values, parameters included. */
export const constantTensor = (value: Value | null | undefined): Tensor | undefined =>
  value?.source.kind === 'constant' ? value.source.tensor : undefined

/** The element of a constant with one element; undefined for other values. */
export function constantNumber(value: Value | null | undefined): number | undefined {
  const tensor = constantTensor(value)
  return tensor !== undefined && sizeOf(tensor.dims) === 1 ? numbersOf(tensor)[0] : undefined
}
