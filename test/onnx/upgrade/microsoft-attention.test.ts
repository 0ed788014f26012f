import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/data/index.js'
import { op, parameter, type Value } from '../../../src/graph/index.js'
import { tensorFrom } from '../../../src/ir/leaf.js'
import { upgradeNode } from '../../../src/onnx/upgrade/upgrade-node.js'
import { evaluate } from '../../grad/evaluate.js'
import { float, int } from '../build.js'
import { checkOriginal, int32, int64, type Operand, type Original, of, symbolic } from './original.js'

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
    attention(
      'of the first words of a model that keeps the past',
      [...self, null, null, null, of(2, 2, 0, 4), of(2, 2, 0, 4)],
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
    { past, ...attributes }: Record<string, number> = {},
    floating: Original['attributes'] = {},
  ): Original => {
    const [batch, length] = q!.dims as readonly [number, number]
    const total = (past ?? 0) + length
    return {
      name: `GroupQueryAttention ${name}`,
      operator: 'GroupQueryAttention',
      operands: [
        q!,
        k!,
        v!,
        past === undefined ? null : of(batch, 2, past, 16),
        past === undefined ? null : of(batch, 2, past, 16),
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
    attention('of the first words of a model that keeps the past', qkv, caches, { past: 0, do_rotary: 1 }),
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

const cases = [...attentions(), ...multiHead(), ...grouped()]

describe('attention of onnxruntime’s own domain equals its kernels, and so does its gradient', () => {
  it.each(cases)('$name', checkOriginal)
  it.each(cases.map((original) => ({ ...original, operands: original.operands.map(symbolic) })))(
    '$name, symbolic lengths',
    checkOriginal,
  )
})

describe('packed operands that onnxruntime’s CPU provider does not support', () => {
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
      upgradeNode(
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
    const [found, wanted] = await evaluate(attention(q, packed), attention(q, k, v))
    expect(found).toEqual(wanted)
  })

  it('of queries, keys and values, with a bias', async () => {
    const packed = op.Concat([byHead(q), byHead(q), byHead(q)], { axis: 3 })
    const [found, wanted] = await evaluate(attention(packed, null, null, bias), attention(q, q, q, bias))
    expect(found).toEqual(wanted)
  })
})
