import { isFloat } from '../../ir/dtype.js'
import { constant, constantTensor } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { repeatBlocks } from '../../op/compose/quantization.js'
import type { blockQuantization } from '../../op/definitions/quantization.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { sumTo } from '../broadcast.js'
import type { Rules } from '../rule.js'

interface BlockLayout {
  readonly K: number
  readonly N: number
  readonly bits: number
  readonly block_size: number
}

function storedBytes(value: Value, what: string): Tensor {
  const tensor = constantTensor(value)
  if (tensor?.dtype !== 'uint8')
    throw new OnnxIreError('not-differentiable', `its ${what} must be stored in the model as uint8`)
  return tensor
}

/**
 * Returns the same bytes as 4-bit or 8-bit elements, without reading them: ONNX also stores the lower four bits
 * first.
 */
const reinterpret = (tensor: Tensor, dims: readonly number[], bits: number): Value =>
  constant({
    dtype: bits === 4 ? 'uint4' : 'uint8',
    dims,
    get data() {
      return tensor.data
    },
  })

/** Zero points [N, blocks]. Rows of 4-bit elements start at a byte boundary; the default is half the range. */
function zeroPoints(value: Value | null, count: number, { N, bits }: BlockLayout): Value {
  const bytes = value && (storedBytes(value, 'zero points').data as Uint8Array)
  const stride = Math.ceil((count * bits) / 8)
  const element = (row: number, column: number): number => {
    if (!bytes) return 2 ** (bits - 1)
    const byte = bytes[row * stride + Math.floor((column * bits) / 8)]!
    return bits === 8 ? byte : (byte >> (4 * (column % 2))) & 15
  }
  const data = new Uint8Array(Math.ceil((N * count * bits) / 8))
  for (let i = 0; i < N * count; i++) {
    const z = element(Math.floor(i / count), i % count)
    if (bits === 8) data[i] = z
    else data[i >> 1]! |= z << (4 * (i % 2))
  }
  return constant({ dtype: bits === 4 ? 'uint4' : 'uint8', dims: [N, count], data })
}

/**
 * Weight W [N, K] = (q - z) s with one zero point z and scale s per block, by DequantizeLinear, which onnxruntime
 * does not fold into a float tensor when it loads a model.
 */
function dequantizeWeight(b: Value, scales: Value, zeros: Value | null, stored_: BlockLayout): Value {
  const { K, N, bits, block_size } = stored_
  if (bits !== 4 && bits !== 8)
    throw new OnnxIreError('not-differentiable', `weights of ${bits} bits are not supported; 4 and 8 are`)
  const count = Math.ceil(K / block_size)
  const q = reinterpret(storedBytes(b, 'weights'), [N, count * block_size], bits)
  const steps = op.Reshape(scales, [N, count])
  const shift = zeros && isFloat(zeros.dtype) ? op.Reshape(zeros, [N, count]) : null
  const z = shift ? null : zeroPoints(zeros, count, stored_)
  const scaled = op.DequantizeLinear(q, steps, z, { axis: 1, block_size })
  const whole = shift ? op.Sub(scaled, repeatBlocks(op.Mul(shift, steps), scaled, 1, block_size)) : scaled
  return count * block_size === K ? whole : op.Slice(whole, [0], [K], [1])
}

export const blockQuantizationRules = {
  // y = a W^T + bias: da = dy W. The weight and its scales are constants.
  MatMulNBits: ([, b, scales, zeros, groupIndices, bias], dy, { attributes }) => {
    if (groupIndices) throw new OnnxIreError('not-differentiable', 'reordered columns (g_idx) are not supported')
    if (attributes.weight_prepacked)
      throw new OnnxIreError(
        'not-differentiable',
        'weights prepacked for one device are not supported; use the model from before prepacking',
      )
    const da = op.MatMul(dy, dequantizeWeight(b, scales, zeros, attributes))
    return [da, null, null, null, null, bias && sumTo(dy, bias)]
  },
} satisfies Rules<typeof blockQuantization>
