import { type DType, dtypeOf } from '../ir/dtype.js'
import type { Shape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { convolution } from './convolution.js'
import { define, int, ints, missing } from './define.js'
import { matMulShape } from './linalg.js'
import { windowAttributes } from './window.js'

const gradient = missing(
  'it computes with integers, which gradients do not move; fine-tune the float model this one was quantized from, and quantize that again',
)

const convolutionAttributes = { ...windowAttributes, group: int(1), kernel_shape: ints.optional }
type ConvolutionAttributes = Parameters<typeof convolution.Conv.infer>[0]['attributes']

/** The shape of a convolution of quantized operands. */
const convolvedShape = (x: Value, w: Value, bias: Value | null, attributes: ConvolutionAttributes): Shape | undefined =>
  [convolution.Conv.infer({ inputs: [x, w, bias], attributes })].flat()[0]!.shape

const quantizedType = (zeroPoint: Value | null, outputDtype: number): DType =>
  zeroPoint?.dtype ?? dtypeOf(outputDtype) ?? 'uint8'

export const quantization = {
  /** y = saturate(round(x / scale) + zero point), with one scale, one for each index of `axis`, or one for each block along it. */
  QuantizeLinear: define({
    inputs: ['x', 'yScale', 'yZeroPoint?'],
    attributes: { axis: int(1), block_size: int(0), output_dtype: int(0), precision: int(0), saturate: int(1) },
    since: 23,
    straightThrough: true,
    infer: ({ inputs: [x, , zeroPoint], attributes: { output_dtype } }) => ({
      dtype: quantizedType(zeroPoint, output_dtype),
      shape: x.shape,
    }),
  }),
  /** y = (x - zero point) scale */
  DequantizeLinear: define({
    inputs: ['x', 'xScale', 'xZeroPoint?'],
    attributes: { axis: int(1), block_size: int(0), output_dtype: int(0) },
    since: 23,
    infer: ({ inputs: [x, scale], attributes: { output_dtype } }) => ({
      dtype: dtypeOf(output_dtype) ?? scale.dtype,
      shape: x.shape,
    }),
  }),
  DynamicQuantizeLinear: define({
    inputs: ['x'],
    outputs: ['y', 'yScale', 'yZeroPoint'],
    since: 11,
    gradient,
    infer: ({ inputs: [x] }) => [
      { dtype: 'uint8', shape: x.shape },
      { dtype: 'float32', shape: [] },
      { dtype: 'uint8', shape: [] },
    ],
  }),
  ConvInteger: define({
    inputs: ['x', 'w', 'xZeroPoint?', 'wZeroPoint?'],
    attributes: convolutionAttributes,
    since: 10,
    gradient,
    infer: ({ inputs: [x, w], attributes }) => ({ dtype: 'int32', shape: convolvedShape(x, w, null, attributes) }),
  }),
  MatMulInteger: define({
    inputs: ['a', 'b', 'aZeroPoint?', 'bZeroPoint?'],
    since: 10,
    gradient,
    infer: ({ inputs: [a, b] }) => ({ dtype: 'int32', shape: matMulShape(a.shape, b.shape) }),
  }),
  QLinearConv: define({
    inputs: ['x', 'xScale', 'xZeroPoint', 'w', 'wScale', 'wZeroPoint', 'yScale', 'yZeroPoint', 'b?'],
    attributes: convolutionAttributes,
    since: 10,
    gradient,
    infer: ({ inputs: [x, , , w, , , , zeroPoint, bias], attributes }) => ({
      dtype: zeroPoint.dtype,
      shape: convolvedShape(x, w, bias, attributes),
    }),
  }),
  QLinearMatMul: define({
    inputs: ['a', 'aScale', 'aZeroPoint', 'b', 'bScale', 'bZeroPoint', 'yScale', 'yZeroPoint'],
    since: 10,
    gradient,
    infer: ({ inputs: [a, , , b, , , , zeroPoint] }) => ({
      dtype: zeroPoint.dtype,
      shape: matMulShape(a.shape, b.shape),
    }),
  }),
}
