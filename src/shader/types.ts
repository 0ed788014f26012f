import { isStatic } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'

/** The type of an element in a shader; integers have 32 bits. */
export type ElementType = 'f32' | 'i32' | 'bool'

/** Creates the error of a graph that shaders cannot compute; the caller uses onnxruntime instead. */
export const unsupported = (what: string): OnnxIreError => new OnnxIreError('unsupported-operator', what)

export function elementType({ dtype }: Pick<Value, 'dtype'>): ElementType {
  if (dtype === 'float32') return 'f32'
  if (dtype === 'int64' || dtype === 'int32') return 'i32'
  if (dtype === 'bool') return 'bool'
  throw unsupported(`shaders have no ${dtype}`)
}

/** The type of an element in a buffer. */
export const storageType = (type: ElementType): 'f32' | 'i32' | 'u32' => (type === 'bool' ? 'u32' : type)

/** Whether a number fits into the integers of shaders. */
const isInt32 = (x: number): boolean => x >= -(2 ** 31) && x < 2 ** 31

/** The first integer of a tensor that does not fit into the integers of shaders. */
export const findLargeInteger = ({ dtype, data }: Tensor): bigint | undefined =>
  dtype === 'int64' ? (data as BigInt64Array).find((x) => !isInt32(Number(x))) : undefined

export function dimsOf({ shape }: Value): readonly number[] {
  if (!isStatic(shape)) throw unsupported('a length that depends on the data')
  return shape
}

export const elementsOf = (value: Value): number => sizeOf(dimsOf(value))

/** WGSL of a number. Throws 'unsupported-operator' for an integer of more than 32 bits. */
export function literal(type: ElementType, value: number): string {
  if (type === 'bool') return value ? 'true' : 'false'
  if (type === 'i32' && !isInt32(value)) throw unsupported(`the integer ${value}`)
  if (type === 'i32') return value === -(2 ** 31) ? 'i32(-2147483648)' : value < 0 ? `(${value}i)` : `${value}i`
  return value < 0 || Object.is(value, -0) ? `(-${Math.abs(Math.fround(value))}f)` : `${Math.fround(value)}f`
}

/** The largest finite number of float32, for maxima that have no first element yet. */
export const largestFloat32 = '0x1.fffffep+127f'
