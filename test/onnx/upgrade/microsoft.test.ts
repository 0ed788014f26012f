import { describe, expect, it } from 'vitest'
import { op, parameter, Random, type Value } from '../../../src/index.js'
import { tensorFrom } from '../../../src/ir/leaf.js'
import { modernised } from '../../../src/onnx/upgrade/modernise.js'
import { evaluate } from '../../grad/evaluate.js'
import { float, floats, int, text } from '../build.js'
import { checkOriginal, importedOriginal, type Operand, type Original } from './original.js'

const of = (...dims: readonly number[]): Operand => ({ dims })
const int32 = (dims: readonly number[], ...values: readonly number[]): Operand => ({ dims, values, dtype: 'int32' })
const int64 = (dims: readonly number[], ...values: readonly number[]): Operand => ({ dims, values, dtype: 'int64' })

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
  ...attentions(),
  ...multiHead(),
  ...grouped(),
]

function attentions(): Original[] {
  const attention = (
    name: string,
    operands: readonly (Operand | null)[],
    attributes: Original['attributes'] = {},
    outputs = 1,
  ): Original => ({
    name: `Attention ${name}`,
    operator: 'Attention',
    operands: [of(2, 4, 6), of(6, 24), of(24), ...operands],
    attributes: { num_heads: int(2), ...attributes },
    outputs,
  })
  return [
    attention('plain', []),
    attention('scaled', [], { scale: float(0.2) }),
    attention('causal', [], { unidirectional: int(1) }),
    attention('of lengths', [int32([2], 4, 2)]),
    attention('of ends and starts', [int32([4], 4, 3, 0, 1)]),
    attention('with a mask', [int32([2, 4], 1, 1, 1, 0, 0, 1, 1, 1)]),
    attention('with a mask, filtered lightly', [int32([2, 4], 1, 1, 1, 0, 0, 1, 1, 1)], {
      mask_filter_value: float(-1.5),
    }),
    attention('causal with a mask', [int32([2, 4], 1, 1, 1, 0, 0, 1, 1, 1)], { unidirectional: int(1) }),
    attention('with a mask per query', [
      int32([2, 4, 4], ...Array.from({ length: 32 }, (_, i) => ((i * 7) % 5 > 1 ? 1 : 0))),
    ]),
    attention('with a bias', [null, null, of(2, 2, 4, 4)]),
    attention('with one bias for all, masked', [int32([2, 4], 1, 1, 1, 0, 0, 1, 1, 1), null, of(1, 2, 4, 4)]),
    attention('after past keys', [null, of(2, 2, 2, 3, 4)], { unidirectional: int(1) }, 2),
    attention(
      'after past keys with a mask',
      [int32([2, 7], 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1), of(2, 2, 2, 3, 4)],
      {},
      2,
    ),
    {
      ...attention('of other sizes', []),
      operands: [of(2, 4, 6), of(6, 26), of(26)],
      attributes: { num_heads: int(2), qkv_hidden_sizes: { type: 7, ints: [8n, 8n, 10n] } },
    },
  ]
}

function multiHead(): Original[] {
  const attention = (
    name: string,
    operands: readonly (Operand | null)[],
    attributes: Original['attributes'] = {},
    outputs = 1,
  ): Original => ({
    name: `MultiHeadAttention ${name}`,
    operator: 'MultiHeadAttention',
    operands,
    attributes: { num_heads: int(2), ...attributes },
    outputs,
  })
  const qkv = [of(2, 4, 8), of(2, 5, 8), of(2, 5, 6)]
  const self = [of(2, 4, 8), of(2, 4, 8), of(2, 4, 8)]
  return [
    attention('plain', qkv),
    attention('scaled', qkv, { scale: float(0.2) }),
    attention('with a bias of the projections', [...qkv, of(22)]),
    attention('of keys by head', [of(2, 4, 8), of(2, 2, 5, 4), of(2, 2, 5, 4)]),
    attention('of lengths', [...qkv, null, int32([2], 5, 2)]),
    attention('with a padding mask', [...qkv, null, int32([2, 5], 1, 1, 1, 0, 0, 0, 1, 1, 1, 1)]),
    attention('with a mask per query', [
      ...qkv,
      null,
      int32([2, 4, 5], ...Array.from({ length: 40 }, (_, i) => ((i * 7) % 5 > 1 ? 1 : 0))),
    ]),
    attention('with attention bias', [...qkv, null, null, of(1, 2, 4, 5)]),
    attention('with both', [...qkv, null, int32([2, 5], 1, 1, 1, 0, 0, 0, 1, 1, 1, 1), of(2, 1, 4, 5)]),
    attention('causal', self, { unidirectional: int(1) }),
    attention('after past keys', [...self, null, null, null, of(2, 2, 3, 4), of(2, 2, 3, 4)], {}, 3),
    attention(
      'causal after past keys',
      [...self, of(24), null, null, of(2, 2, 3, 4), of(2, 2, 3, 4)],
      { unidirectional: int(1) },
      3,
    ),
    attention('giving what is past', self, { unidirectional: int(1) }, 3),
  ]
}

function grouped(): Original[] {
  const attention = (
    name: string,
    [q, k, v]: readonly (Operand | null)[],
    more: readonly (Operand | null)[],
    { past = 0, ...attributes }: Record<string, number> = {},
    floating: Original['attributes'] = {},
  ): Original => {
    const [batch, length] = q!.dims as readonly [number, number]
    const total = past + length
    return {
      name: `GroupQueryAttention ${name}`,
      operator: 'GroupQueryAttention',
      operands: [
        q!,
        k!,
        v!,
        past ? of(batch, 2, past, 16) : null,
        past ? of(batch, 2, past, 16) : null,
        int32([batch], ...Array.from({ length: batch }, () => total - 1)),
        int32([1], total),
        ...more,
      ],
      attributes: {
        num_heads: int(4),
        kv_num_heads: int(2),
        ...Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, int(value)])),
        ...floating,
      },
      outputs: 3,
    }
  }
  const qkv = [of(2, 4, 64), of(2, 4, 32), of(2, 4, 32)]
  const [one, next] = [
    qkv.map(({ dims }) => of(1, ...dims.slice(1))),
    qkv.map(({ dims }) => of(2, 1, ...dims.slice(2))),
  ]
  const caches = [of(16, 8), of(16, 8)]
  return [
    attention('plain', qkv, []),
    attention('scaled and capped', qkv, [], {}, { scale: float(0.3), softcap: float(2) }),
    attention('rotated', qkv, caches, { do_rotary: 1 }),
    attention('rotated, interleaved', qkv, caches, { do_rotary: 1, rotary_interleaved: 1 }),
    attention('rotated at positions', qkv, [...caches, int64([2, 4], 3, 4, 5, 6, 3, 4, 5, 6)], { do_rotary: 1 }),
    attention('packed', [of(2, 4, 128), null, null], []),
    attention('packed and rotated', [of(2, 4, 128), null, null], caches, { do_rotary: 1 }),
    attention('after past keys', one, [], { past: 3 }),
    attention('of the next word', next, [], { past: 3 }),
    attention('rotated after past keys', one, caches, { past: 5, do_rotary: 1 }),
    attention('rotated of the next word', next, caches, { past: 5, do_rotary: 1 }),
    attention('within a window', qkv, [], { local_window_size: 2 }),
    attention('within a window after past keys', one, [], { past: 3, local_window_size: 3 }),
    attention('with a bias', qkv, [null, null, null, of(1, 4, 4, 4)]),
    attention('with a bias, capped', qkv, [null, null, null, of(2, 1, 4, 4)], {}, { softcap: float(2) }),
    attention('with smooth softmax', qkv, [], { smooth_softmax: 1 }),
    attention('with sinks', qkv, [null, null, null, null, of(4)]),
    attention('with sinks within a window after past keys', one, [...caches, null, null, of(4)], {
      past: 3,
      local_window_size: 3,
      do_rotary: 1,
    }),
  ]
}

/** Batch and length without a number, as exporters declare them. */
const symbolic = (operand: Operand | null): Operand | null => {
  if (!operand) return null
  const open = { 1: [], 2: operand.dtype ? [0, 1] : [], 3: [0, 1], 4: [0, 2], 5: [1, 3] }[operand.dims.length] ?? []
  return { ...operand, symbolic: operand.dims.map((length, axis) => (open.includes(axis) ? `d${length}` : length)) }
}

describe('operators of onnxruntime’s own domain equal its kernels, and so do their gradients', () => {
  it.each(cases)('$name', checkOriginal)
  it.each(cases.map((original) => ({ ...original, operands: original.operands.map(symbolic) })))(
    '$name, symbolic lengths',
    checkOriginal,
  )
})

describe('operands that onnxruntime’s CPU provider does not take packed', () => {
  const random = new Random(3)
  const drawn = (name: string, ...dims: readonly number[]): Value => {
    const length = dims.reduce((a, b) => a * b, 1)
    return parameter(
      name,
      tensorFrom(
        'float32',
        dims,
        Array.from({ length }, () => random.uniform() - 0.5),
      ),
    )
  }
  const attention = (...inputs: readonly (Value | null)[]): Value => {
    const attributes = { num_heads: 2 }
    return (
      modernised(
        { operator: 'MultiHeadAttention', inputs, attributes, outputCount: 1 },
        1,
        'com.microsoft',
      ) as readonly Value[]
    )[0]!
  }
  const [q, k, v, bias] = [drawn('q', 2, 4, 8), drawn('k', 2, 5, 8), drawn('v', 2, 5, 8), drawn('bias', 24)]
  const byHead = (x: Value) => op.Reshape(x, [0, 0, 2, 1, 4])

  it('of keys and values', async () => {
    const packed = op.Concat([byHead(k), byHead(v)], { axis: 3 })
    const [ours, theirs] = await evaluate(attention(q, packed), attention(q, k, v))
    expect(ours).toEqual(theirs)
  })

  it('of queries, keys and values, with a bias', async () => {
    const packed = op.Concat([byHead(q), byHead(q), byHead(q)], { axis: 3 })
    const [ours, theirs] = await evaluate(attention(packed, null, null, bias), attention(q, q, q, bias))
    expect(ours).toEqual(theirs)
  })
})

describe('what cannot be written in operators of ai.onnx is refused by name', () => {
  it.each([
    ['Attention', { num_heads: int(2), do_rotary: int(1) }, 'do_rotary'],
    ['Attention', { num_heads: int(2), some_new_attribute: int(1) }, "'some_new_attribute' is not known"],
    ['Attention', {}, "'num_heads'"],
    ['Attention', { num_heads: text('two') }, "'num_heads' is not a number"],
    ['FusedGemm', { activation: text('Swoosh') }, "activation 'Swoosh'"],
  ] as const)('%s %o', (operator, attributes, message) => {
    const operands = operator === 'Attention' ? [of(2, 4, 6), of(6, 24)] : [of(2, 3), of(3, 4)]
    expect(() => importedOriginal({ name: '', operator, operands, attributes })).toThrow(
      expect.objectContaining({ message: expect.stringMatching(new RegExp(`^${operator} '.*${message}`)) }),
    )
  })

  it('an operand that is missing', () => {
    expect(() => importedOriginal({ name: '', operator: 'BiasGelu', operands: [of(2, 3)] })).toThrow(
      expect.objectContaining({ code: 'invalid-model', message: expect.stringContaining('input number 1') }),
    )
  })
})
