import { describe, expect, it } from 'vitest'
import { float, floats, int, text } from '../build.js'
import { errorAt } from '../errors.js'
import { checkOriginal, importedOriginal, int32, int64, type Original, of, symbolic } from './original.js'

const cases: readonly Original[] = [
  { name: 'Gelu', operator: 'Gelu', operands: [of(3, 4)] },
  { name: 'BiasGelu', operator: 'BiasGelu', operands: [of(2, 3, 4), of(4)] },
  { name: 'FastGelu', operator: 'FastGelu', operands: [of(3, 4)] },
  { name: 'FastGelu with a bias', operator: 'FastGelu', operands: [of(3, 4), of(4)] },
  { name: 'QuickGelu', operator: 'QuickGelu', operands: [of(3, 4)] },
  { name: 'QuickGelu as SiLU', operator: 'QuickGelu', operands: [of(3, 4)], attributes: { alpha: float(1) } },

  {
    name: 'FusedMatMul',
    operator: 'FusedMatMul',
    operands: [of(2, 3), of(4, 3)],
    attributes: { transB: int(1), alpha: float(0.5) },
  },
  {
    name: 'FusedMatMul transA',
    operator: 'FusedMatMul',
    operands: [of(5, 3, 2), of(5, 3, 4)],
    attributes: { transA: int(1) },
  },
  {
    name: 'FusedMatMul transBatchA',
    operator: 'FusedMatMul',
    operands: [of(2, 5, 3), of(5, 3, 4)],
    attributes: { transBatchA: int(1) },
  },
  {
    name: 'FusedMatMul transBatchA, transA',
    operator: 'FusedMatMul',
    operands: [of(3, 5, 2), of(5, 3, 4)],
    attributes: { transBatchA: int(1), transA: int(1) },
  },
  {
    name: 'FusedMatMul transBatchB of four axes',
    operator: 'FusedMatMul',
    operands: [of(5, 6, 2, 3), of(3, 5, 6, 4)],
    attributes: { transBatchB: int(1) },
  },
  {
    name: 'TransposeMatMul',
    operator: 'TransposeMatMul',
    operands: [of(3, 2), of(3, 4)],
    attributes: { transA: int(1) },
  },

  ...(['Relu', 'LeakyRelu', 'Sigmoid', 'Tanh', 'Softplus', 'Softsign', 'Elu', 'HardSigmoid'] as const).map(
    (activation): Original => ({
      name: `FusedGemm ${activation}`,
      operator: 'FusedGemm',
      operands: [of(2, 3), of(4, 3), of(4)],
      attributes: {
        transB: int(1),
        alpha: float(0.7),
        activation: text(activation),
        ...(activation === 'LeakyRelu' ? { activation_alpha: float(0.2) } : {}),
        ...(activation === 'Elu' ? { activation_alpha: float(1) } : {}),
        ...(activation === 'HardSigmoid' ? { activation_alpha: float(0.2), activation_beta: float(0.5) } : {}),
      },
    }),
  ),
  ...([['Relu'], ['Tanh'], ['Sigmoid'], ['LeakyRelu', 0.1], ['Clip', 0, 6], ['HardSigmoid', 0.2, 0.5]] as const).map(
    ([activation, ...parameters]): Original => ({
      name: `FusedConv ${activation}`,
      operator: 'FusedConv',
      operands: [of(1, 2, 5, 5), of(3, 2, 3, 3), of(3)],
      attributes: {
        activation: text(activation),
        ...(parameters.length > 0 ? { activation_params: floats(...parameters) } : {}),
      },
    }),
  ),
  {
    name: 'FusedConv with an added operand',
    operator: 'FusedConv',
    operands: [of(1, 2, 5, 5), of(3, 2, 3, 3), of(3), of(1, 3, 3, 3)],
    attributes: { activation: text('Relu') },
  },

  {
    name: 'SimplifiedLayerNormalization',
    operator: 'SimplifiedLayerNormalization',
    domain: '',
    operands: [of(2, 3, 8), of(8)],
    outputs: 2,
    attributes: { epsilon: float(1e-6) },
    opset: 14,
  },
  {
    name: 'SkipLayerNormalization',
    operator: 'SkipLayerNormalization',
    operands: [of(2, 3, 8), of(2, 3, 8), of(8), of(8)],
  },
  {
    name: 'SkipLayerNormalization with everything',
    operator: 'SkipLayerNormalization',
    operands: [of(2, 3, 8), of(2, 3, 8), of(8), of(8), of(8)],
    outputs: 4,
    skipped: [1, 2],
    attributes: { epsilon: float(1e-5) },
  },
  {
    name: 'SkipLayerNormalization of one skip for all',
    operator: 'SkipLayerNormalization',
    operands: [of(2, 3, 8), of(3, 8), of(8)],
  },
  {
    name: 'SkipSimplifiedLayerNormalization',
    operator: 'SkipSimplifiedLayerNormalization',
    operands: [of(2, 3, 8), of(2, 3, 8), of(8), of(8)],
    outputs: 4,
    skipped: [1, 2],
    attributes: { epsilon: float(1e-5) },
  },
  {
    name: 'EmbedLayerNormalization',
    operator: 'EmbedLayerNormalization',
    operands: [
      int32([2, 3], 0, 5, 1, 2, 2, 4),
      int32([2, 3], 0, 0, 1, 1, 0, 1),
      of(6, 8),
      of(4, 8),
      of(2, 8),
      of(8),
      of(8),
      int32([2, 3], 1, 1, 0, 1, 1, 1),
    ],
    outputs: 3,
  },
  {
    name: 'EmbedLayerNormalization at positions',
    operator: 'EmbedLayerNormalization',
    operands: [
      int32([2, 3], 0, 5, 1, 2, 2, 4),
      null,
      of(6, 8),
      of(4, 8),
      null,
      of(8),
      of(8),
      null,
      int32([2, 3], 1, 2, 3, 0, 1, 2),
    ],
    outputs: 2,
  },

  {
    name: 'RotaryEmbedding from a position',
    operator: 'RotaryEmbedding',
    operands: [of(2, 3, 16), int64([1], 2), of(8, 4), of(8, 4)],
  },
  {
    name: 'RotaryEmbedding at positions',
    operator: 'RotaryEmbedding',
    operands: [of(2, 3, 16), int64([2, 3], 0, 1, 2, 4, 5, 7), of(8, 4), of(8, 4)],
    attributes: { interleaved: int(1) },
  },
  {
    name: 'RotaryEmbedding by head',
    operator: 'RotaryEmbedding',
    operands: [of(2, 2, 3, 8), int64([1], 0), of(8, 4), of(8, 4)],
  },
  {
    name: 'RotaryEmbedding in part',
    operator: 'RotaryEmbedding',
    operands: [of(2, 3, 16), int64([1], 0), of(8, 2), of(8, 2)],
    attributes: { num_heads: int(2), rotary_embedding_dim: int(4) },
  },
  { name: 'Trilu', operator: 'Trilu', operands: [of(3, 4), int64([], 1)], attributes: { upper: int(0) } },
  ...[4, 8].map(
    (bits): Original => ({
      name: `GatherBlockQuantized of ${bits} bits`,
      operator: 'GatherBlockQuantized',
      operands: [
        {
          dims: [6, 4 * bits],
          values: Array.from({ length: 24 * bits }, (_, i) => (i * 37 + 11) % 256),
          dtype: 'uint8',
        },
        int64([2, 2], 5, 0, 1, 2),
        { dims: [6, 2], fixed: true },
      ],
      attributes: { bits: int(bits), block_size: int(16) },
    }),
  ),
  { name: 'GatherND', operator: 'GatherND', operands: [of(3, 4), int64([2, 1], 2, 0)] },
  {
    name: 'QuantizeLinear',
    operator: 'QuantizeLinear',
    operands: [
      { dims: [2, 3], fixed: true },
      { dims: [], values: [0.1], fixed: true },
      { dims: [], values: [3], dtype: 'int8' },
    ],
  },
  {
    name: 'DequantizeLinear',
    operator: 'DequantizeLinear',
    operands: [
      { dims: [2, 3], values: [1, -5, 9, 127, -128, 0], dtype: 'int8' },
      of(3),
      { dims: [3], values: [0, 1, -2], dtype: 'int8' },
    ],
    attributes: { axis: int(1) },
  },
]

describe('operators of onnxruntime’s own domain equal its kernels, and so do their gradients', () => {
  it.each(cases)('$name', checkOriginal)
  it.each(cases.map((original) => ({ ...original, operands: original.operands.map(symbolic) })))(
    '$name, symbolic lengths',
    checkOriginal,
  )
})

describe('a form without an equivalent in ai.onnx > import > throws an error that names the attribute', () => {
  it.each([
    ['Attention', { num_heads: int(2), do_rotary: int(1) }, 'unsupported-operator', 'do_rotary'],
    ['Attention', { num_heads: int(2), some_new_attribute: int(1) }, 'unsupported-operator', "'some_new_attribute'"],
    ['Attention', {}, 'invalid-model', "'num_heads'"],
    ['Attention', { num_heads: text('two') }, 'invalid-model', "'num_heads'"],
    ['FusedGemm', { activation: text('Swoosh') }, 'unsupported-operator', "activation 'Swoosh'"],
  ] as const)('%s %o', (operator, attributes, code, place) => {
    const operands = operator === 'Attention' ? [of(2, 4, 6), of(6, 24)] : [of(2, 3), of(3, 4)]
    expect(() => importedOriginal({ name: '', operator, operands, attributes })).toThrow(
      errorAt(code, new RegExp(`^${operator} '.*${place}`)),
    )
  })

  it('a missing operand', () => {
    expect(() => importedOriginal({ name: '', operator: 'BiasGelu', operands: [of(2, 3)] })).toThrow(
      errorAt('invalid-model', 'input number 1'),
    )
  })
})
