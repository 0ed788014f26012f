import { type DType, dtypeOf, dtypes, type TypedArray } from '../../ir/dtype.js'
import { isStrings, sizeOf, type Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import { Handle } from './library.js'
import { type Ort, readAddress, readInt32 } from './ort.js'

/** An object that must outlive a value. */
export interface Owner {
  keep(): void
  drop(): void
}

/** An OrtValue that holds a tensor. */
export class OrtValue extends Handle {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly #ort: Ort
  #elements: bigint | undefined

  constructor(ort: Ort, address: bigint, { dtype, dims }: Type, owner: Owner) {
    super('tensor', address, (address) => {
      ort.ReleaseValue(address)
      owner.drop()
    })
    owner.keep()
    this.#ort = ort
    this.dtype = dtype
    this.dims = dims
  }

  /** Address of its elements, 0 if it has none. An address in device memory is meaningful only to the device. */
  get elements(): bigint {
    if (this.dtype === 'string' || this.dims.includes(0)) return 0n
    this.#elements ??= readAddress((out) => this.#ort.GetTensorMutableData(this.address, out))
    return this.#elements
  }
}

/** References the array of a value, so that it is not garbage-collected before the value is released. */
class Memory implements Owner {
  array: TypedArray | null

  constructor(array: TypedArray | null) {
    this.array = array
  }

  keep(): void {}

  drop(): void {
    this.array = null
  }
}

interface Type {
  readonly dtype: DType
  readonly dims: readonly number[]
}

/** Wraps the OrtValue at `address`, which `owner` created. */
export function valueAt(ort: Ort, address: bigint, owner: Owner): OrtValue {
  return new OrtValue(ort, address, typeOf(ort, address), owner)
}

/** Creates a value over the elements of a host tensor without a copy; strings are copied. */
export function hostValue(ort: Ort, hostMemory: bigint, { dtype, dims, data }: Tensor): OrtValue {
  const shape = BigInt64Array.from(dims, BigInt)
  const type = dtypes[dtype].onnx
  const make = (memory: TypedArray | null) => {
    const address = readAddress((out) =>
      memory === null
        ? ort.CreateTensorAsOrtValue(ort.allocator, shape, shape.length, type, out)
        : ort.CreateTensorWithDataAsOrtValue(hostMemory, memory, memory.byteLength, shape, shape.length, type, out),
    )
    return new OrtValue(ort, address, { dtype, dims }, new Memory(memory))
  }
  if (!isStrings(data)) return make(data.length === 0 ? null : copyIfResizable(data))
  if (data.some((text) => text.includes('\0')))
    throw new OnnxIreError('invalid-data', 'strings must not contain the character U+0000')
  const value = make(null)
  if (data.length > 0) ort.FillStringTensor(value.address, data, data.length)
  return value
}

/** Copies a value in host memory to a tensor. */
export function tensorOf(ort: Ort, value: OrtValue): Tensor {
  const { dtype, dims } = value
  const { array, bits } = dtypes[dtype]
  const count = sizeOf(dims)
  if (array === null) return { dtype, dims, data: stringsOf(ort, value, count) }
  const data = new array(bits === 4 ? Math.ceil(count / 2) : count)
  if (data.byteLength > 0) ort.memcpy(data, value.elements, data.byteLength)
  return { dtype, dims, data }
}

function typeOf(ort: Ort, value: bigint): Type {
  const info = readAddress((out) => ort.GetTensorTypeAndShape(value, out))
  try {
    const dtype = elementType(ort, info)
    const rank = Number(readAddress((out) => ort.GetDimensionsCount(info, out)))
    const dims = new BigInt64Array(rank)
    if (rank > 0) ort.GetDimensions(info, dims, rank)
    return { dtype, dims: Array.from(dims, Number) }
  } finally {
    ort.ReleaseTensorTypeAndShapeInfo(info)
  }
}

/** Type of the elements of an `OrtTensorTypeAndShapeInfo`. */
export function elementType(ort: Ort, info: bigint): DType {
  const type = readInt32((out) => ort.GetTensorElementType(info, out))
  const dtype = dtypeOf(type)
  if (dtype === undefined)
    throw new OnnxIreError(
      'runtime',
      `tensors of ONNX type ${type} are not supported in JavaScript; cast them in the graph`,
    )
  return dtype
}

function stringsOf(ort: Ort, value: OrtValue, count: number): string[] {
  if (count === 0) return []
  const bytes = new Uint8Array(Number(readAddress((out) => ort.GetStringTensorDataLength(value.address, out))))
  const offsets = new BigUint64Array(count)
  ort.GetStringTensorContent(value.address, bytes, bytes.length, offsets, count)
  const decoder = new TextDecoder()
  const end = (i: number) => (i + 1 < count ? Number(offsets[i + 1]) : bytes.length)
  return Array.from(offsets, (start, i) => decoder.decode(bytes.subarray(Number(start), end(i))))
}

/** Copies an array over a resizable buffer: shrinking it would free pages that native code reads. */
const copyIfResizable = (data: TypedArray): TypedArray => (isResizable(data) ? data.slice() : data)

/** Whether the buffer of an array may change its size. */
export function isResizable({ buffer }: TypedArray): boolean {
  const { resizable, growable } = buffer as { resizable?: boolean; growable?: boolean }
  return Boolean(resizable || growable)
}
