import { constant, tensorFrom } from '../../../src/ir/leaf.js'
import type { Value } from '../../../src/ir/value.js'
import type { blockQuantization } from '../../../src/op/definitions/quantization.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const bytes = (...dims: readonly number[]): Value => {
  const length = dims.reduce((a, b) => a * b, 1)
  return constant(
    tensorFrom(
      'uint8',
      dims,
      Array.from({ length }, (_, i) => (i * 37 + 11) % 256),
    ),
  )
}
const floats = (...dims: readonly number[]): Value => {
  const length = dims.reduce((a, b) => a * b, 1)
  return constant(
    tensorFrom(
      'float32',
      dims,
      Array.from({ length }, (_, i) => 0.01 + 0.02 * ((i * 7) % 11)),
    ),
  )
}

interface Weight {
  readonly K: number
  readonly bits?: number
  readonly block_size?: number
  readonly zeroPoints?: 'bytes' | 'floats'
  readonly bias?: Operand
}

const product = (name: string, a: Operand, { K, bits = 4, block_size = 16, zeroPoints, bias }: Weight): Case => ({
  name: `MatMulNBits ${name}`,
  operands: [a, ...(bias ? [bias] : [])],
  build: (a, bias) => {
    const [N, blocks] = [5, Math.ceil(K / block_size)]
    const b = bytes(N, blocks, (block_size * bits) / 8)
    const zeros =
      zeroPoints === 'bytes' ? bytes(N * Math.ceil((blocks * bits) / 8)) : zeroPoints ? floats(N * blocks) : null
    return op.MatMulNBits(a!, b, floats(N * blocks), zeros, null, bias ?? null, { K, N, bits, block_size })
  },
  float32: 'MatMulNBits',
  linear: true,
})

export const blockQuantizationCases = {
  MatMulNBits: [
    product('of matrices', shape(3, 32), { K: 32 }),
    {
      ...product('of a batch, with a bias', shape(2, 3, 32), { K: 32, bias: shape(5) }),
      staticOnly: 'onnxruntime wants to know the length of the bias',
    },
    product('with zero points', shape(3, 48), { K: 48, zeroPoints: 'bytes' }),
    product('with an even number of zero points', shape(3, 64), { K: 64, zeroPoints: 'bytes' }),
    product('with zero points between the numbers', shape(3, 48), { K: 48, zeroPoints: 'floats' }),
    product('with a last block that is filled up', shape(3, 40), { K: 40, block_size: 32, zeroPoints: 'bytes' }),
    product('of 8 bits', shape(3, 32), { K: 32, bits: 8 }),
    product('of 2 bits', shape(3, 32), { K: 32, bits: 2 }),
    product('of 2 bits with zero points', shape(3, 48), { K: 48, bits: 2, zeroPoints: 'bytes' }),
    product('of 8 bits with zero points', shape(3, 48), { K: 48, bits: 8, zeroPoints: 'bytes' }),
  ],
} satisfies Cases<typeof blockQuantization>
