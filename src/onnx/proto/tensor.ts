import { type DType, dtypeOf, dtypes, type TypedArray } from '../../ir/dtype.js'
import type { FloatArray } from '../../ir/float-array.js'
import { maxRank } from '../../ir/shape.js'
import { sizeOf, type Tensor, type TensorData, toRawBytes } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import { decodeUtf8, encodeUtf8 } from '../../util/utf8.js'
import { type ExternalData, type ExternalRange, isExternal, readExternalRange } from './external-data.js'
import { create, edit } from './message.js'
import { type FileBytes, fileBytesOf, modelFileOf } from './model-file.js'
import type { NodeProto, TensorProto } from './schema.js'

/**
 * Reads the tensor of a TensorProto, in any of its storage forms. Dims and lengths are checked at once, before
 * anything is allocated; elements are decoded when `data` is first read. Aligned elements are a view of the stored
 * bytes, so do not write to them. A tensor of an unsupported type (complex, float8, float4, 2-bit) throws when its
 * dtype or data are read.
 *
 * @param external the source of external data; null if only the model's own bytes are available
 * @param name the name in error messages, if the proto has none
 * @throws OnnxIreError `invalid-model` or `external-data` with the name of the tensor
 */
export function readTensor(proto: TensorProto, external: ExternalData | null, name = proto.name ?? ''): Tensor {
  const label = `tensor ${JSON.stringify(name)}`
  if (proto.segment) {
    throw new OnnxIreError(
      'invalid-model',
      `${label} is stored in segments, which is not supported: save it in one piece`,
    )
  }
  const dims = readDims(proto, label)
  const dtype = dtypeOf(proto.dataType ?? 0)
  if (!dtype) {
    const type = typeNames[proto.dataType ?? 0] ?? `of unknown type ${proto.dataType}`
    return createUnreadableTensor(
      'invalid-model',
      `${label} is ${type}, which is not supported: convert it to another type`,
    )
  }
  const stored = { proto, dtype, name, label, dims, elements: countElements(dims), bytes: countRawBytes(dtype, dims) }
  const inFile = fileBytesOf(proto)
  const isOutside = isExternal(proto) && !inFile && !proto.rawData
  const decodePart = isOutside
    ? prepareExternalRead(stored, external)
    : inFile
      ? prepareFileRead(stored, inFile)
      : undefined
  const decode = decodePart ? () => decodePart(0, stored.bytes) : prepareRead(stored)
  // Elements that remain in the model's file, or are not aligned there, are copied. A copy can be made again, so the
  // tensor does not keep it: training copies the weights, and the model would be in memory twice. External data are read
  // from the file once.
  let data: TensorData | null = null
  let copy: WeakRef<TensorData & object> | null = null
  const tensor: Tensor = {
    dtype,
    dims,
    get data() {
      if (isOutside) {
        data ??= decode()
        parts.delete(tensor)
        return data
      }
      const known = copy?.deref()
      if (known) return known
      const decoded = decode()
      copy = new WeakRef(decoded)
      return decoded
    },
  }
  if (decodePart) parts.set(tensor, decodePart)
  const place = isOutside ? readExternalRange(proto, name) : findInFile(stored)
  const files = isOutside ? external : fileOf(proto)?.external
  if (place && files?.folderOf) {
    const { location, offset } = place
    fileRanges.set(tensor, () => {
      const folder = files.folderOf!(location)
      return folder === undefined ? undefined : { folder, location, offset, length: stored.bytes }
    })
  }
  return tensor
}

type PartDecoder = (at: number, length: number) => TensorData

/** Decoders of parts of tensors in files that are not in memory, by byte offset and length. */
const parts = new WeakMap<Tensor, PartDecoder>()

/** Bytes of a file that `copyElements` reads at once. */
const blockBytes = 2 ** 23

/**
 * Copies the elements of a tensor of floats to an array of its type. Those in a file are read in blocks: the tensor is
 * not in memory twice.
 */
export function copyElements(tensor: Tensor, into: FloatArray): void {
  const decodePart = parts.get(tensor)
  if (!decodePart) {
    into.set(tensor.data as FloatArray)
    return
  }
  const width = into.BYTES_PER_ELEMENT
  for (let at = 0; at < into.byteLength; at += blockBytes)
    into.set(decodePart(at, Math.min(blockBytes, into.byteLength - at)) as FloatArray, at / width)
}

/** The file of the model that a tensor's raw data are from. */
const fileOf = (proto: TensorProto) => fileBytesOf(proto)?.file ?? (proto.rawData && modelFileOf(proto.rawData))

/** The place of a tensor's raw data in the file of its model; undefined if its elements are not aligned there. */
function findInFile({ proto, dtype }: Stored): Pick<ExternalRange, 'location' | 'offset'> | undefined {
  const file = fileOf(proto)
  if (!file) return undefined
  const offset = fileBytesOf(proto)?.start ?? proto.rawData!.byteOffset - file.bytes.byteOffset
  return offset % Math.ceil(dtypes[dtype].bits / 8) === 0 ? { location: file.location, offset } : undefined
}

/** The number of bytes of a tensor's raw data; undefined if it has none. */
export const countRawData = (proto: TensorProto): number | undefined => (fileBytesOf(proto) ?? proto.rawData)?.length

/** Range of a file with the elements of a tensor. */
interface FileRange extends ExternalRange {
  readonly folder: string
  readonly length: number
}

const fileRanges = new WeakMap<Tensor, () => FileRange | undefined>()

/** Finds the file with the elements of a tensor, if it was read from external data in a file that has not changed. */
export const fileRangeOf = (tensor: Tensor): FileRange | undefined => fileRanges.get(tensor)?.()

/** Whether the elements of a stored tensor, an initializer or a Constant node, are read from a file when they are used. */
export const staysInFile = (stored: TensorProto | NodeProto, external: ExternalData | null): boolean =>
  fileBytesOf(stored) !== undefined ||
  ('dataLocation' in stored && isExternal(stored) && !stored.rawData && external?.folderOf !== undefined)

/** Names of the types of TensorProto.DataType that have no DType. */
const typeNames: Readonly<Record<number, string>> = {
  0: 'of undefined type',
  14: 'complex64',
  15: 'complex128',
  17: 'float8e4m3fn',
  18: 'float8e4m3fnuz',
  19: 'float8e5m2',
  20: 'float8e5m2fnuz',
  23: 'float4e2m1',
  24: 'float8e8m0',
  25: 'uint2',
  26: 'int2',
}

/** Creates a tensor that cannot be used: reading its dtype, dims or data throws. */
export function createUnreadableTensor(code: 'invalid-model', message: string): Tensor {
  const fail = (): never => {
    throw new OnnxIreError(code, message)
  }
  return {
    get dtype() {
      return fail()
    },
    get dims() {
      return fail()
    },
    get data() {
      return fail()
    },
  }
}

/** A limit on the number of elements that no real tensor reaches: 2^50 bytes are a petabyte. */
const maxElements = 2 ** 50

function readDims(proto: TensorProto, label: string): readonly number[] {
  if (proto.dims.length > maxRank) {
    throw new OnnxIreError('invalid-model', `${label} has ${proto.dims.length} axes; at most ${maxRank} are supported`)
  }
  const dims = Array.from(proto.dims, Number)
  const text = () => `[${Array.from(proto.dims).join(', ')}]`
  if (dims.some((dim) => dim < 0)) {
    throw new OnnxIreError('invalid-model', `${label} has a negative dimension: ${text()}`)
  }
  if (dims.some((dim) => dim > maxElements) || countElements(dims) > maxElements) {
    throw new OnnxIreError('invalid-model', `${label} has impossible dimensions: ${text()}`)
  }
  return Object.freeze(dims)
}

/** The number of elements; 0 if any dimension is 0, even if the product of the others is infinite. */
const countElements = (dims: readonly number[]): number => (dims.includes(0) ? 0 : sizeOf(dims))

/** The number of bytes of a tensor as raw data. Not for strings, which have no raw form. */
export const countRawBytes = (dtype: DType, dims: readonly number[]): number =>
  Math.ceil((countElements(dims) * dtypes[dtype].bits) / 8)

interface Stored {
  readonly proto: TensorProto
  readonly dtype: DType
  readonly name: string
  readonly label: string
  readonly dims: readonly number[]
  readonly elements: number
  readonly bytes: number
}

function prepareExternalRead({ proto, dtype, name, label, bytes }: Stored, external: ExternalData | null): PartDecoder {
  if (dtype === 'string')
    throw new OnnxIreError('invalid-model', `${label} is of type string, which cannot be external data`)
  const range = readExternalRange(proto, name)
  if (range.length !== undefined && range.length !== bytes) {
    throw new OnnxIreError(
      'external-data',
      `${label} needs ${bytes} bytes, but its external data has length ${range.length}`,
    )
  }
  return (at, length) => {
    if (!external) {
      throw new OnnxIreError(
        'external-data',
        `${label} is in the file ${JSON.stringify(range.location)}, but only the bytes of the model were given: read the model from its file, or pass its external data`,
      )
    }
    try {
      return viewElements(dtype, external.read(range.location, range.offset + at, length))
    } catch (cause) {
      if (!(cause instanceof OnnxIreError)) throw cause
      throw new OnnxIreError(cause.code, `${label} (${bytes} bytes): ${cause.message}`, { cause })
    }
  }
}

function prepareFileRead(stored: Stored, inFile: FileBytes): PartDecoder {
  checkRawData(stored, inFile.length)
  const { dtype, label } = stored
  return (at, length) => {
    try {
      return viewElements(dtype, inFile.read(at, length))
    } catch (cause) {
      if (!(cause instanceof OnnxIreError)) throw cause
      throw new OnnxIreError(cause.code, `${label}: ${cause.message}`, { cause })
    }
  }
}

function checkRawData(stored: Stored, found: number): void {
  if (stored.dtype === 'string')
    throw new OnnxIreError('invalid-model', `${stored.label} is of type string, which cannot be raw data`)
  checkCount(stored, found, stored.bytes, 'bytes')
}

function checkCount({ dtype, label, dims }: Stored, found: number, needed: number, unit: string): void {
  if (found === needed) return
  const what = `${label}, ${dtype} [${dims.join(', ')}], needs ${needed} ${unit} and has ${found}`
  throw new OnnxIreError('invalid-model', `${what}: the model is damaged, or its dimensions are wrong`)
}

function prepareRead(stored: Stored): () => TensorData {
  const { proto, dtype, elements, bytes } = stored
  const { rawData } = proto
  if (rawData) {
    checkRawData(stored, rawData.length)
    return () => viewElements(dtype, rawData)
  }
  const field = dataFieldOf(dtype)
  const values = proto[field]
  // Two 4-bit integers share one element of int32_data.
  checkCount(stored, values.length, dtypes[dtype].bits === 4 ? bytes : elements, `elements of ${field}`)
  return () => {
    if (field === 'stringData') return proto.stringData.map(decodeUtf8)
    if (field === 'floatData' || field === 'doubleData' || field === 'int64Data') return proto[field]
    if (dtype === 'uint64') return proto.uint64Data
    if (dtype === 'uint32') return Uint32Array.from(proto.uint64Data, Number)
    const array = dtypes[dtype].array
    if (dtype === 'int32' || !array) return proto.int32Data
    // The other types of this field have 16 bits or fewer, and `set` keeps the low bits.
    const narrow = new array(proto.int32Data.length) as Uint16Array
    narrow.set(proto.int32Data)
    return narrow
  }
}

type DataField = 'floatData' | 'doubleData' | 'int64Data' | 'uint64Data' | 'stringData' | 'int32Data'

/**
 * The field of TensorProto with the elements of a type, if they are not raw data: int32_data for float16 and small
 * integers.
 */
function dataFieldOf(dtype: DType): DataField {
  switch (dtype) {
    case 'float32':
      return 'floatData'
    case 'float64':
      return 'doubleData'
    case 'int64':
      return 'int64Data'
    case 'uint32':
    case 'uint64':
      return 'uint64Data'
    case 'string':
      return 'stringData'
    default:
      return 'int32Data'
  }
}

/** The elements in raw little-endian bytes: a view if they are aligned, otherwise a copy. */
function viewElements(dtype: DType, bytes: Uint8Array): TypedArray {
  const { array: Elements, bits } = dtypes[dtype]
  if (!Elements) throw new TypeError(`a ${dtype} has no raw form`)
  const width = Math.max(bits / 8, 1)
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes)
  return new Elements(buffer, byteOffset, byteLength / width)
}

/** Converts a tensor to a TensorProto whose raw data is a view of the elements. */
export function toTensorProto(name: string, tensor: Tensor): TensorProto {
  const { dtype, dims, data } = tensor
  return create('TensorProto', {
    name,
    dims: dims.map(BigInt),
    dataType: dtypes[dtype].onnx,
    ...(ArrayBuffer.isView(data)
      ? { rawData: toRawBytes(tensor) }
      : { stringData: (data as readonly string[]).map(encodeUtf8) }),
  })
}

/**
 * Replaces the elements of `proto` by those of `tensor`, which has the same dtype and dims, in the same storage form.
 * For an external tensor they are raw data until the model is written; then they move to its data file.
 */
export function replaceData(proto: TensorProto, tensor: Tensor): TensorProto {
  const { data } = tensor
  if (isExternal(proto) || countRawData(proto) !== undefined) return edit(proto, { rawData: toRawBytes(tensor) })
  const field = dataFieldOf(tensor.dtype)
  if (field === 'stringData') return edit(proto, { stringData: (data as readonly string[]).map(encodeUtf8) })
  if (field === 'uint64Data' && tensor.dtype === 'uint32') {
    return edit(proto, { uint64Data: BigUint64Array.from(data as Uint32Array, BigInt) })
  }
  return edit(proto, { [field]: field === 'int32Data' ? new Int32Array(data as Int32Array) : data })
}
