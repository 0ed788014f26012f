import { type DType, dtypeOf } from '../../ir/dtype.js'
import { axisOf, type Dim, formatShape, isStatic, productOf, type Shape, unknownDim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkShape } from '../contents.js'
import { define, elementType, int, missing, zero } from '../define.js'
import { biasFlops, convolutionFlops, matMulFlops, perInput, perOutput, size } from '../flops.js'
import { convolution, convolutionAttributes } from './convolution.js'
import { matMulShape } from './linalg.js'

const gradient = missing(
  'it computes with integers, which have no gradient; fine-tune the float model and quantize it again',
)

type ConvolutionAttributes = Parameters<typeof convolution.Conv.infer>[0]['attributes']

/** The shape of a convolution of quantized operands. */
const convolvedShape = (x: Value, w: Value, bias: Value | null, attributes: ConvolutionAttributes): Shape | undefined =>
  [convolution.Conv.infer({ inputs: [x, w, bias], attributes })].flat()[0]!.shape

const quantizedType = (zeroPoint: Value | null, outputDtype: number): DType =>
  zeroPoint?.dtype ?? dtypeOf(outputDtype) ?? 'uint8'

/** Products of integers count like those of reals; a scale and a zero point are two operations. */
export const quantization = {
  /**
   * y = saturate(round(x / scale) + zero point), with one scale, one for each index of `axis`, or one for each block
   * along it.
   */
  QuantizeLinear: define({
    inputs: ['x', 'yScale', 'yZeroPoint?'],
    attributes: {
      axis: int(1),
      block_size: int(0),
      output_dtype: elementType(0),
      precision: elementType(0),
      saturate: int(1),
    },
    since: 23,
    straightThrough: true,
    configInputs: ['yScale'],
    flops: perOutput(2),
    infer: ({ inputs: [x, , zeroPoint], attributes: { output_dtype } }) => ({
      dtype: quantizedType(zeroPoint, output_dtype),
      shape: x.shape,
    }),
  }),
  /** y = (x - zero point) scale */
  DequantizeLinear: define({
    inputs: ['x', 'xScale', 'xZeroPoint?'],
    attributes: { axis: int(1), block_size: int(0), output_dtype: elementType(0) },
    since: 23,
    configInputs: ['xScale'],
    maxOpset: { webgpu: 23 },
    flops: perOutput(2),
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
    flops: perInput(4),
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
    quantizedWeights: ['w'],
    flops: ([, w], [y]) => convolutionFlops(w, y!),
    infer: ({ inputs: [x, w], attributes }) => ({ dtype: 'int32', shape: convolvedShape(x, w, null, attributes) }),
  }),
  MatMulInteger: define({
    inputs: ['a', 'b', 'aZeroPoint?', 'bZeroPoint?'],
    since: 10,
    gradient,
    quantizedWeights: ['b'],
    flops: ([a], [y]) => matMulFlops(a, y!),
    infer: ({ inputs: [a, b] }) => ({ dtype: 'int32', shape: matMulShape(a.shape, b.shape) }),
  }),
  QLinearConv: define({
    inputs: ['x', 'xScale', 'xZeroPoint', 'w', 'wScale', 'wZeroPoint', 'yScale', 'yZeroPoint', 'b?'],
    attributes: convolutionAttributes,
    since: 10,
    gradient,
    quantizedWeights: ['w', 'b'],
    flops: ([, , , w, , , , , b], [y]) => convolutionFlops(w, y!, b) + 2 * size(y!),
    infer: ({ inputs: [x, , , w, , , , zeroPoint, bias], attributes }) => ({
      dtype: zeroPoint.dtype,
      shape: convolvedShape(x, w, bias, attributes),
    }),
  }),
  QLinearMatMul: define({
    inputs: ['a', 'aScale', 'aZeroPoint', 'b', 'bScale', 'bZeroPoint', 'yScale', 'yZeroPoint'],
    since: 10,
    gradient,
    quantizedWeights: ['b'],
    flops: ([a], [y]) => matMulFlops(a, y!) + 2 * size(y!),
    infer: ({ inputs: [a, , , b, , , , zeroPoint] }) => ({
      dtype: zeroPoint.dtype,
      shape: matMulShape(a.shape, b.shape),
    }),
  }),
}

/** y = a W^T + bias, W of the shape [n, k]. */
function productShape(a: Value, k: number, n: number): Shape | undefined {
  const { shape } = a
  const inner = shape?.at(-1)
  if (shape?.length === 0 || (typeof inner === 'number' && inner !== k))
    throw new OnnxIreError('invalid-shape', `${formatShape(shape)} does not end with K = ${k}`)
  return shape && [...shape.slice(0, -1), n]
}

/** Rows of weights fall into blocks, the last of which may be filled up. */
function checkBlocks(b: Value, k: number, n: number, bits: number, blockSize: number): void {
  if (Math.min(k, n, blockSize) < 1 || ![2, 4, 8].includes(bits) || (blockSize * bits) % 8 !== 0)
    throw new OnnxIreError(
      'invalid-model',
      `K ${k}, N ${n}, block_size ${blockSize} and bits ${bits} describe no weight`,
    )
  const elements = n * Math.ceil(k / blockSize) * blockSize
  if (isStatic(b.shape) && productOf(b.shape) !== (elements * bits) / 8)
    throw new OnnxIreError(
      'invalid-shape',
      `${formatShape(b.shape)} does not hold ${elements} elements of ${bits} bits`,
    )
}

/** Bytes hold one element of 8 bits, or two of 4 bits. */
const unpackedDim = (dim: Dim, packed: boolean, bits: number): Dim =>
  !packed || bits === 8 ? dim : typeof dim === 'number' ? (dim * 8) / bits : unknownDim()

function gatheredShape(data: Value, indices: Value, gatherAxis: number, bits: number): Shape | undefined {
  if (!data.shape || !indices.shape) return undefined
  const at = axisOf(gatherAxis, data.shape.length)
  const last = data.shape.length - 1
  const whole = data.shape.map((dim, axis) => (axis === last ? unpackedDim(dim, data.dtype === 'uint8', bits) : dim))
  return [...whole.slice(0, at), ...indices.shape, ...whole.slice(at + 1)]
}

/**
 * Operators of onnxruntime on block-quantized weights. They are not expanded, because models would be several times as
 * large.
 */
export const blockQuantization = {
  /**
   * The product with a weight [N, K] of which each row is stored in blocks of `block_size` elements:
   * b is uint8[N, blocks, block_size * bits / 8], its scales (and zero points) are one for each block.
   */
  MatMulNBits: define({
    inputs: ['a', 'b', 'scales', 'zeroPoints?', 'groupIndices?', 'bias?'],
    attributes: {
      K: int.required,
      N: int.required,
      accuracy_level: int(0),
      bits: int(4),
      block_size: int.required,
      weight_prepacked: int(0),
    },
    domain: 'com.microsoft',
    since: 1,
    quantizedWeights: ['b', 'bias'],
    configInputs: ['scales', 'zeroPoints'],
    // The weight is (q - zero point) scale.
    flops: ([, , , , , bias], [y], { K, N }) => 2 * size(y!) * K + 2 * K * N + biasFlops(bias, y!),
    infer: ({ inputs: [a, b, , , , bias], attributes: { K, N, bits, block_size } }) => {
      checkBlocks(b, K, N, bits, block_size)
      checkShape('bias', bias, [N])
      return { dtype: a.dtype, shape: productShape(a, K, N) }
    },
  }),
  /** Gathers rows of a table that is quantized in blocks. */
  GatherBlockQuantized: define({
    inputs: ['data', 'indices', 'scales', 'zeroPoints?'],
    attributes: { bits: int(4), block_size: int(128), gather_axis: int(0), quantize_axis: int(1) },
    domain: 'com.microsoft',
    since: 1,
    gradient: zero('looks up integers by integers; its scales are taken as fixed'),
    quantizedWeights: ['data'],
    configInputs: ['scales'],
    flops: perOutput(2),
    infer: ({ inputs: [data, indices, scales], attributes: { gather_axis, bits } }) => ({
      dtype: scales.dtype,
      shape: gatheredShape(data, indices, gather_axis, bits),
    }),
  }),
}
