import { constant, tensorFrom } from '../../../src/ir/leaf.js'
import type { Value } from '../../../src/ir/value.js'
import type { quantization } from '../../../src/op/definitions/quantization.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const float32 = 'the quantizing operators'
const data: Operand = { shape: [2, 3], values: [0.31, -0.52, 1.13, 5.2, -7.1, 0.04] }
const bytes: Operand = { shape: [2, 4], dtype: 'int8', values: [-128, 3, 127, 0, 5, -7, 90, 1] }
const fixed = (...values: readonly number[]): Operand => ({ shape: [values.length], values, fixed: true })
const int8 = (...values: readonly number[]): Operand => ({ shape: [values.length], values, dtype: 'int8' })
const one = (value: number): Operand => ({ shape: [], values: [value], fixed: true })

/**
 * A pair of quantizing and dequantizing, and what lies behind them: x held between the numbers that can be represented.
 */
const pair = (
  name: string,
  operands: readonly Operand[],
  attributes: { readonly axis?: number; readonly block_size?: number },
  [low, high]: readonly [low: Value | number, high: Value | number],
  between: (q: Value) => Value = (q) => q,
): Case => ({
  name: `QuantizeLinear ${name}`,
  operands,
  build: (x, scale, zeroPoint) =>
    op.DequantizeLinear(
      between(op.QuantizeLinear(x!, scale!, zeroPoint ?? null, attributes)),
      scale!,
      zeroPoint ?? null,
      attributes,
    ),
  unrounded: (x) => between(op.Min([op.Max([x!, low]), high])),
  float32,
})

const row = (...values: readonly number[]) => constant(tensorFrom('float32', [values.length], values))

const dequantize = (
  name: string,
  operands: readonly Operand[],
  attributes: { readonly axis?: number; readonly block_size?: number } = {},
): Case => ({
  name: `DequantizeLinear ${name}`,
  operands,
  build: (x, scale, zeroPoint) => op.DequantizeLinear(x!, scale!, zeroPoint ?? null, attributes),
  float32,
  linear: true,
})

export const quantizationCases = {
  QuantizeLinear: [
    pair('to uint8', [data, one(0.02)], {}, [-0.01, 5.11]),
    pair('to int8', [data, one(0.02), { shape: [], values: [-3], dtype: 'int8' }], {}, [-2.51, 2.61]),
    pair('per axis', [data, fixed(0.01, 0.02, 0.003), int8(0, 5, -10)], { axis: 1 }, [
      row(-1.285, -2.67, -0.3555),
      row(1.275, 2.45, 0.4125),
    ]),
    pair('per row', [data, fixed(0.01, 0.02), int8(0, 0)], { axis: 0 }, [
      op.Unsqueeze(row(-1.285, -2.57), [1]),
      op.Unsqueeze(row(1.275, 2.55), [1]),
    ]),
    pair(
      'per block',
      [
        data,
        { shape: [2, 2], values: [0.01, 0.02, 0.01, 0.02], fixed: true },
        { shape: [2, 2], values: [0, 0, 0, 0], dtype: 'int8' },
      ],
      { axis: 1, block_size: 2 },
      [row(-1.285, -1.285, -2.57), row(1.275, 1.275, 2.55)],
    ),
    pair('with a transposition between', [data, one(0.02)], {}, [-0.01, 5.11], (q) =>
      op.Transpose(q, { perm: [1, 0] }),
    ),
  ],
  DequantizeLinear: [
    dequantize('of bytes', [bytes, shape()]),
    dequantize('of bytes with a zero point', [bytes, shape(), { shape: [], values: [7], dtype: 'int8' }]),
    dequantize('per column', [bytes, shape(4), int8(0, 5, -3, 1)], { axis: -1 }),
    dequantize('per row', [bytes, shape(2)], { axis: 0 }),
    dequantize('per block', [bytes, shape(2, 2), { shape: [2, 2], values: [1, 2, 3, -4], dtype: 'int8' }], {
      axis: 1,
      block_size: 2,
    }),
    dequantize('per block, the last one cut', [bytes, shape(2, 2)], { axis: 1, block_size: 3 }),
    dequantize('of a bias', [{ shape: [3], dtype: 'int32', values: [1000, -2000, 7] }, shape()]),
  ],
} satisfies Cases<typeof quantization>
