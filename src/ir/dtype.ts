/** Element types, with the names of onnxruntime. */
export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'int4'
  | 'uint4'
  | 'bool'
  | 'string'

/**
 * The elements of a tensor in host memory: float16 and bfloat16 as bits, 4-bit integers packed two per byte, bool as
 * bytes.
 */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

interface DTypeFacts {
  /** TensorProto.DataType */
  readonly onnx: number
  /** Bits of one element; 0 for string. */
  readonly bits: number
  readonly array: {
    new (length: number): TypedArray
    new (buffer: ArrayBufferLike, byteOffset: number, length: number): TypedArray
  } | null
}

/** The number in ONNX, the size and the array class of every element type. */
export const dtypes: Readonly<Record<DType, DTypeFacts>> = {
  float32: { onnx: 1, bits: 32, array: Float32Array },
  uint8: { onnx: 2, bits: 8, array: Uint8Array },
  int8: { onnx: 3, bits: 8, array: Int8Array },
  uint16: { onnx: 4, bits: 16, array: Uint16Array },
  int16: { onnx: 5, bits: 16, array: Int16Array },
  int32: { onnx: 6, bits: 32, array: Int32Array },
  int64: { onnx: 7, bits: 64, array: BigInt64Array },
  string: { onnx: 8, bits: 0, array: null },
  bool: { onnx: 9, bits: 8, array: Uint8Array },
  float16: { onnx: 10, bits: 16, array: Uint16Array },
  float64: { onnx: 11, bits: 64, array: Float64Array },
  uint32: { onnx: 12, bits: 32, array: Uint32Array },
  uint64: { onnx: 13, bits: 64, array: BigUint64Array },
  bfloat16: { onnx: 16, bits: 16, array: Uint16Array },
  uint4: { onnx: 21, bits: 4, array: Uint8Array },
  int4: { onnx: 22, bits: 4, array: Uint8Array },
}

const byNumber = new Map((Object.keys(dtypes) as DType[]).map((dtype) => [dtypes[dtype].onnx, dtype]))

/**
 * The dtype of a TensorProto.DataType number; undefined for types that this library does not support (complex,
 * float8).
 */
export const dtypeOf = (onnx: number): DType | undefined => byNumber.get(onnx)

/** The largest finite float32. */
export const largestFloat32 = 3.4028234663852886e38

/** Whether a dtype is a 16-bit floating-point type. */
export const isHalf = (dtype: DType): boolean => dtype === 'float16' || dtype === 'bfloat16'

/** Whether a dtype is a floating-point type. */
export const isFloat = (dtype: DType): boolean => dtype === 'float32' || dtype === 'float64' || isHalf(dtype)
