import { dtypeOf } from '../../ir/dtype.js'
import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { expandToBlocks, rangeOf } from '../../op/compose/quantization.js'
import type { AttributesOf } from '../../op/define.js'
import type { quantization } from '../../op/definitions/quantization.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** Sums of integers up to this size are exact in float32. */
const maxExactInteger = 2 ** 24

/** Largest difference of two bytes. */
const maxByteDifference = 255

/** Ratio of the two parts of such a difference, and their largest size; see `integerProduct`. */
const partRatio = 16

type Multiply = (x: Value, w: Value) => Value

/**
 * The int32 product of differences of bytes, computed in float32, for which alone WebGPU has kernels. Sums of many
 * terms are split, w = 16 high + low, so that both products are exact. Null if there are too many terms even then.
 */
function integerProduct(x: Value, w: Value, terms: number, multiply: Multiply): Value | null {
  const product = (w: Value) => cast(multiply(x, w), 'int32')
  if (terms * maxByteDifference * maxByteDifference <= maxExactInteger) return product(w)
  if (terms * maxByteDifference * partRatio > maxExactInteger) return null
  const high = op.Floor(op.Div(w, partRatio))
  return op.Add(op.Mul(product(high), partRatio), product(op.Sub(w, op.Mul(high, partRatio))))
}

/** Values for each index of an axis, so that they are broadcast along it: `behind` axes follow. */
const along = (values: Value, behind: number): Value =>
  behind === 0 || values.shape?.length !== 1 || values.shape[0] === 1
    ? values
    : op.Unsqueeze(
        values,
        Array.from({ length: behind }, (_, i) => i + 1),
      )

/**
 * x - zero point as float32, with one zero point or one for each index of `axis`. Null for other types than bytes.
 * WebGPU has no cast from int8, but it dequantizes it, and right only if the last word of memory is full.
 */
function centered(x: Value, zeroPoint: Value | null, axis: number): Value | null {
  if (!x.shape || (x.dtype !== 'uint8' && x.dtype !== 'int8')) return null
  if (x.dtype === 'uint8') {
    const elements = cast(x, 'float32')
    return zeroPoint ? op.Sub(elements, along(cast(zeroPoint, 'float32'), x.shape.length - 1 - axis)) : elements
  }
  if (!isStatic(x.shape) || sizeOf(x.shape) % 4 > 0) return null
  const dims = zeroPoint?.shape ?? []
  if (!isStatic(dims) || dims.length > 1) return null
  const ones = constant(tensorFrom('float32', dims, Array<number>(sizeOf(dims)).fill(1)))
  return op.DequantizeLinear(x, ones, zeroPoint, { axis })
}

function matMulInteger(a: Value, b: Value, aZeroPoint: Value | null, bZeroPoint: Value | null): Value | null {
  const terms = a.shape?.at(-1)
  if (typeof terms !== 'number' || !b.shape) return null
  const x = centered(a, aZeroPoint, Math.max(0, a.shape!.length - 2))
  const w = centered(b, bZeroPoint, b.shape.length - 1)
  return x && w && integerProduct(x, w, terms, (x, w) => op.MatMul(x, w))
}

type ConvAttributes = AttributesOf<(typeof quantization)['ConvInteger']['attributes']>

function convInteger(
  given: Value,
  kernels: Value,
  xZeroPoint: Value | null,
  wZeroPoint: Value | null,
  attributes: ConvAttributes,
): Value | null {
  const [x, w] = [centered(given, xZeroPoint, 0), centered(kernels, wZeroPoint, 0)]
  if (!x || !w || !isStatic(w.shape)) return null
  return integerProduct(x, w, sizeOf(w.shape.slice(1)), (x, w) => op.Conv(x, w, null, attributes))
}

/** saturate(round(sum scale) + zero point), as float32 */
function requantize(sum: Value, scale: Value, zeroPoint: Value): Value {
  const [low, high] = rangeOf('uint8')
  const steps = op.Round(op.Mul(cast(sum, 'float32'), scale))
  return op.Clip(op.Add(steps, cast(zeroPoint, 'float32')), low, high)
}

const areFloats = (...scales: readonly Value[]): boolean => scales.every(({ dtype }) => dtype === 'float32')

// WebGPU has no cast to int8: results of that type are left to the CPU.
export const quantizationLowerings = {
  // saturate(round(x / scale) + zero point)
  QuantizeLinear: ([x, scale, zeroPoint], attributes) => {
    const dtype = zeroPoint?.dtype ?? dtypeOf(attributes.output_dtype) ?? 'uint8'
    if (dtype !== 'uint8') return null
    const [low, high] = rangeOf(dtype)
    const steps = op.Round(op.Div(cast(x, 'float32'), cast(expandToBlocks(scale, x, attributes), 'float32')))
    const shifted = zeroPoint ? op.Add(steps, expandToBlocks(cast(zeroPoint, 'float32'), x, attributes)) : steps
    return cast(op.Clip(shifted, low, high), dtype)
  },
  // The range of x with 0, in 255 steps.
  DynamicQuantizeLinear: ([x]) => {
    const lowest = op.Min([op.ReduceMin(x, null, { keepdims: 0 }), 0])
    const range = op.Sub(op.Max([op.ReduceMax(x, null, { keepdims: 0 }), 0]), lowest)
    const scale = op.Where(op.Equal(range, 0), scalar('float32', 1), op.Div(range, 255))
    const zeroPoint = cast(op.Round(op.Clip(op.Sub(0, op.Div(lowest, scale)), 0, 255)), 'uint8')
    return [op.QuantizeLinear(x, scale, zeroPoint), scale, zeroPoint]
  },
  MatMulInteger: ([a, b, aZeroPoint, bZeroPoint]) => matMulInteger(a, b, aZeroPoint, bZeroPoint),
  QLinearMatMul: ([a, aScale, aZeroPoint, b, bScale, bZeroPoint, yScale, yZeroPoint]) => {
    if (yZeroPoint.dtype !== 'uint8' || !areFloats(aScale, bScale, yScale)) return null
    const sum = matMulInteger(a, b, aZeroPoint, bZeroPoint)
    return sum && cast(requantize(sum, op.Div(op.Mul(along(aScale, 1), bScale), yScale), yZeroPoint), 'uint8')
  },
  ConvInteger: ([x, w, xZeroPoint, wZeroPoint], attributes) => convInteger(x, w, xZeroPoint, wZeroPoint, attributes),
  QLinearConv: ([x, xScale, xZeroPoint, w, wScale, wZeroPoint, yScale, yZeroPoint, bias], attributes) => {
    if (yZeroPoint.dtype !== 'uint8' || !areFloats(xScale, wScale, yScale)) return null
    const sum = convInteger(x, w, xZeroPoint, wZeroPoint, attributes)
    if (!sum) return null
    // onnxruntime computes convolutions with channels last, and would move the Transpose behind them to the bytes, for
    // which it has no kernel; it stays before a Reshape.
    const flat = op.Reshape(sum, [0, 0, -1])
    const biased = bias ? op.Add(flat, along(bias, 1)) : flat
    const y = requantize(biased, op.Div(op.Mul(xScale, along(wScale, 1)), yScale), yZeroPoint)
    return cast(op.Reshape(y, op.Shape(sum)), 'uint8')
  },
} satisfies Lowerings<typeof quantization>
