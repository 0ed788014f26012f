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

/** The type of the elements in a DequantizeLinear, which has no 2-bit integers below operator set 25. */
const elementType = (bits: number) => (bits === 8 ? 'uint8' : 'uint4')

/**
 * Returns the same bytes as 4-bit or 8-bit elements, without reading them: ONNX also stores the lower four bits
 * first. Elements of 2 bits are widened to 4 when the graph is exported.
 */
const reinterpret = (tensor: Tensor, dims: readonly number[], bits: number): Value =>
  constant({
    dtype: elementType(bits),
    dims,
    get data() {
      return bits === 2 ? widen(tensor.data as Uint8Array) : tensor.data
    },
  })

/** Widens elements of 2 bits, four per byte, to elements of 4 bits, two per byte. */
function widen(bytes: Uint8Array): Uint8Array {
  const data = new Uint8Array(2 * bytes.length)
  for (const [i, byte] of bytes.entries()) {
    data[2 * i] = (byte & 3) | ((byte & 12) << 2)
    data[2 * i + 1] = ((byte >> 4) & 3) | ((byte >> 2) & 48)
  }
  return data
}

/** Zero points [N, blocks]. Rows of packed elements start at a byte boundary; the default is half the range. */
function zeroPoints(value: Value | null, count: number, { N, bits }: BlockLayout): Value {
  const bytes = value && (storedBytes(value, 'zero points').data as Uint8Array)
  const stride = Math.ceil((count * bits) / 8)
  const perByte = 8 / bits
  const element = (row: number, column: number): number => {
    if (!bytes) return 2 ** (bits - 1)
    const byte = bytes[row * stride + Math.floor(column / perByte)]!
    return (byte >> (bits * (column % perByte))) & (2 ** bits - 1)
  }
  const dtype = elementType(bits)
  const data = new Uint8Array(dtype === 'uint8' ? N * count : Math.ceil((N * count) / 2))
  for (let i = 0; i < N * count; i++) {
    const z = element(Math.floor(i / count), i % count)
    if (dtype === 'uint8') data[i] = z
    else data[i >> 1]! |= z << (4 * (i % 2))
  }
  return constant({ dtype, dims: [N, count], data })
}

/**
 * Weight W [N, K] = (q - z) s with one zero point z and scale s per block, by DequantizeLinear, which onnxruntime
 * does not fold into a float tensor when it loads a model.
 */
function dequantizeWeight(b: Value, scales: Value, zeros: Value | null, stored_: BlockLayout): Value {
  const { K, N, bits, block_size } = stored_
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
