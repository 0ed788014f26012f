import { type DType, dtypes, type TypedArray } from '../../ir/dtype.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'

/** Element types by the third byte of an IDX file. */
const types: Readonly<Record<number, DType>> = {
  8: 'uint8',
  9: 'int8',
  11: 'int16',
  12: 'int32',
  13: 'float32',
  14: 'float64',
}

/**
 * Parses a file in IDX format, the format of MNIST (http://yann.lecun.com/exdb/mnist): two zero bytes, the element
 * type, the rank, then each dimension as 32 bits and the elements, all big-endian. Byte tensors are views of the file,
 * not copies.
 * @throws OnnxIreError `invalid-data` with the offset of the error
 * @example
 * ```ts
 * const pixels = parseIdx(new Uint8Array(await file.arrayBuffer()))
 * ```
 */
export function parseIdx(bytes: Uint8Array): Tensor {
  const [zero, one, code = 0, rank = 0] = bytes
  if (zero === 0x1f && one === 0x8b) throw invalidFile('it is compressed with gzip; decompress it first')
  if (bytes.length < 4) throw invalidFile(`it has ${bytes.length} bytes, fewer than the 4 of the header`)
  if (zero !== 0 || one !== 0)
    throw invalidFile(`bytes 0 and 1 are ${zero} and ${one}, but must be 0: it is in another format`)
  const dtype = types[code]
  if (!dtype) {
    const known = Object.entries(types).map(([number, name]) => `${number} (${name})`)
    throw invalidFile(`byte 2, the element type, is ${code}; it must be one of ${known.join(', ')}`)
  }
  const start = 4 + 4 * rank
  if (rank === 0) throw invalidFile('byte 3, the number of dimensions, is 0; it must be at least 1')
  if (bytes.length < start)
    throw invalidFile(`it ends at offset ${bytes.length}, but a header of ${rank} dimensions ends at offset ${start}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const dims = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis))
  const expected = start + (sizeOf(dims) * dtypes[dtype].bits) / 8
  if (bytes.length !== expected) {
    const size = Number.isSafeInteger(expected) ? `${expected} bytes` : 'more bytes than any file has'
    const problem =
      bytes.length < expected ? 'it is truncated or its header is damaged' : 'the remaining bytes are unknown'
    throw invalidFile(
      `${dtype} elements [${dims.join(', ')}] from offset ${start} require a file of ${size}, but it has ${bytes.length}: ${problem}`,
    )
  }
  return { dtype, dims, data: elementsOf(dtype, new DataView(view.buffer, view.byteOffset + start, expected - start)) }
}

function elementsOf(dtype: DType, view: DataView): TypedArray {
  switch (dtype) {
    case 'int8':
      return new Int8Array(view.buffer, view.byteOffset, view.byteLength)
    case 'int16':
      return Int16Array.from({ length: view.byteLength / 2 }, (_, i) => view.getInt16(2 * i))
    case 'int32':
      return Int32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getInt32(4 * i))
    case 'float32':
      return Float32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i))
    case 'float64':
      return Float64Array.from({ length: view.byteLength / 8 }, (_, i) => view.getFloat64(8 * i))
    default:
      return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  }
}

const invalidFile = (problem: string) => new OnnxIreError('invalid-data', `not a valid IDX file: ${problem}`)
