import { isFloat } from '../../ir/dtype.js'
import { constant, constantTensor } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { blocks } from '../../op/compose/quantization.js'
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
    throw new OnnxIreError('not-differentiable', `its ${what} are not stored in the model as uint8`)
  return tensor
}

/** The same bytes, two elements in each: the lower four bits come first in ONNX too. The data is not looked at. */
const reinterpret = (tensor: Tensor, dims: readonly number[], bits: number): Value =>
  constant({
    dtype: bits === 4 ? 'uint4' : 'uint8',
    dims,
    get data() {
      return tensor.data
    },
  })

/** Zero points [N, blocks]. Rows of 4 bits begin with a whole byte; where there are none they are half the range. */
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
 * W [N, K] = (q - z) s, one zero point and scale for each block. Written with DequantizeLinear, which onnxruntime does not
 * fold into a tensor of floats when it loads a model.
 */
function dequantizeWeight(b: Value, scales: Value, zeros: Value | null, stored_: BlockLayout): Value {
  const { K, N, bits, block_size } = stored_
  if (bits !== 4 && bits !== 8) throw new OnnxIreError('not-differentiable', `weights of ${bits} bits`)
  const count = Math.ceil(K / block_size)
  const q = reinterpret(storedBytes(b, 'weights'), [N, count * block_size], bits)
  const steps = op.Reshape(scales, [N, count])
  const shift = zeros && isFloat(zeros.dtype) ? op.Reshape(zeros, [N, count]) : null
  const z = shift ? null : zeroPoints(zeros, count, stored_)
  const scaled = op.DequantizeLinear(q, steps, z, { axis: 1, block_size })
  const whole = shift ? op.Sub(scaled, blocks(op.Mul(shift, steps), scaled, 1, block_size)) : scaled
  return count * block_size === K ? whole : op.Slice(whole, [0], [K], [1])
}

export const blockQuantizationRules = {
  // y = a W^T + bias; the weight and its scales are taken as fixed.
  MatMulNBits: ([, b, scales, zeros, groupIndices, bias], dy, { attributes }) => {
    if (groupIndices) throw new OnnxIreError('not-differentiable', 'its columns are in another order (g_idx)')
    if (attributes.weight_prepacked)
      throw new OnnxIreError('not-differentiable', 'its weights are packed for one device; use the model from before')
    const da = op.MatMul(dy, dequantizeWeight(b, scales, zeros, attributes))
    return [da, null, null, null, null, bias && sumTo(dy, bias)]
  },
} satisfies Rules<typeof blockQuantization>
