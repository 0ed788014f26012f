import { type DType, dtypes } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { rangeOf } from '../op/compose/quantization.js'
import { roundHalfToEven } from '../util/round.js'

/** Scales and zero points: one for all elements, one for each index of an axis, or one for each block along it. */
interface Quantization {
  readonly scales: ArrayLike<number>
  readonly zeroPoints: ArrayLike<number> | number
  readonly axis: number
  /** Elements of a block; 0 without blocks. */
  readonly blockSize: number
}

/** Dequantizes elements: (q - zero point) scale. */
export const dequantize = (codes: ArrayLike<number>, dims: readonly number[], form: Quantization): Float64Array =>
  mapElements(codes, dims, form, (code, scale, zeroPoint) => (code - zeroPoint) * scale)

/** Quantizes float32 elements as QuantizeLinear does: saturate(round(x / scale) + zero point), ties to even. */
export function quantize(
  elements: ArrayLike<number>,
  dims: readonly number[],
  form: Quantization,
  dtype: DType,
): Float64Array {
  const [low, high] = rangeOf(dtype)
  return mapElements(elements, dims, form, (x, scale, zeroPoint) => {
    const steps = roundHalfToEven(Math.fround(x / scale))
    return Math.min(Math.max(steps + zeroPoint, low), high)
  })
}

function mapElements(
  elements: ArrayLike<number>,
  dims: readonly number[],
  { scales, zeroPoints, axis, blockSize }: Quantization,
  map: (element: number, scale: number, zeroPoint: number) => number,
): Float64Array {
  const inner = sizeOf(dims.slice(axis + 1))
  const length = dims[axis] ?? 1
  const blocks = Math.ceil(length / blockSize)
  const result = new Float64Array(sizeOf(dims))
  // Elements of one index of the axis have scales of their own only if there are blocks.
  const stride = blockSize > 0 && scales.length > 1 ? 1 : 0
  for (let start = 0; start < result.length; start += inner) {
    const row = start / inner
    const position = row % length
    const block = Math.floor(row / length) * blocks + Math.floor(position / blockSize)
    const first = scales.length === 1 ? 0 : blockSize > 0 ? block * inner : position
    for (let i = 0; i < inner; i++) {
      const at = first + stride * i
      const zeroPoint = typeof zeroPoints === 'number' ? zeroPoints : zeroPoints[at]!
      result[start + i] = map(elements[start + i]!, scales[at]!, zeroPoint)
    }
  }
  return result
}

/** The elements of a tensor as numbers. Integers of 4 bits are unpacked. */
export function elementsOf(tensor: Tensor): ArrayLike<number> {
  const { dtype, dims, data } = tensor
  if (data instanceof Float32Array) return data
  if (dtypes[dtype].bits !== 4) return numbersOf(tensor)
  const codes = unpackRows(data as Uint8Array, sizeOf(dims), 1, 4)
  return dtype === 'int4' ? Int8Array.from(codes, (code) => (code > 7 ? code - 16 : code)) : codes
}

/**
 * Unpacks rows of unsigned integers of 2, 4 or 8 bits, the lowest bits first. Every row begins with a byte of its own.
 * @param rowBytes bytes from one row to the next
 */
export function unpackRows(
  bytes: ArrayLike<number>,
  columns: number,
  rows: number,
  bits: number,
  rowBytes = Math.ceil((columns * bits) / 8),
): Uint8Array {
  const perByte = 8 / bits
  const mask = 2 ** bits - 1
  const codes = new Uint8Array(rows * columns)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const byte = bytes[row * rowBytes + Math.floor(column / perByte)]!
      codes[row * columns + column] = (byte >> ((column % perByte) * bits)) & mask
    }
  return codes
}
