import type { Value } from '../../../src/ir/value.js'
import type { attention } from '../../../src/op/definitions/attention.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const attend = (name: string, operands: readonly Operand[], attributes: Record<string, number> = {}): Case => ({
  name: `Attention ${name}`,
  operands,
  build: (q, k, v, mask, pastKey, pastValue) =>
    op.Attention(q!, k!, v!, mask ?? null, pastKey ?? null, pastValue ?? null, attributes)[0],
})

/** A case in which only the first keys of each row of the batch count: `lengths` of them. */
const attendWithin = (
  name: string,
  operands: readonly Operand[],
  lengths: readonly number[],
  attributes: Record<string, number> = {},
): Case => ({
  name: `Attention ${name}`,
  operands: [...operands, { shape: [lengths.length], dtype: 'int64', values: lengths }],
  build: (q, k, v, ...rest) =>
    op.Attention(q!, k!, v!, rest.length > 1 ? rest[0]! : null, null, null, rest.at(-1)!, attributes)[0],
  float32: 'Attention within lengths',
})

const heads = [shape(2, 3, 4, 5), shape(2, 3, 6, 5), shape(2, 3, 6, 7)]
const visible: Operand = {
  shape: [4, 6],
  dtype: 'bool',
  values: Array.from({ length: 24 }, (_, i) => (i % 6 === 0 || i % 5 < 2 ? 1 : 0)),
}

const rotate = (
  name: string,
  x: readonly number[],
  cache: readonly number[],
  attributes: Record<string, number> = {},
  positions?: Operand,
): Case => ({
  name: `RotaryEmbedding ${name}`,
  operands: [shape(...x), shape(...cache), shape(...cache), ...(positions ? [positions] : [])],
  build: (x, cos, sin, positionIds) => op.RotaryEmbedding(x!, cos!, sin!, positionIds ?? null, attributes),
  float32: 'RotaryEmbedding',
})

export const attentionCases = {
  Attention: [
    attend('by head', heads),
    attend('by head, scaled', heads, { scale: 0.3 }),
    attend('with an additive mask', [...heads, shape(4, 6)]),
    attend('with a boolean mask', [...heads, visible]),
    attend('causal', [shape(2, 3, 4, 5), shape(2, 3, 4, 5), shape(2, 3, 4, 7)], { is_causal: 1 }),
    attend('of flat operands', [shape(2, 4, 6), shape(2, 5, 6), shape(2, 5, 9)], { q_num_heads: 3, kv_num_heads: 3 }),
    attend('with shared key heads', [shape(2, 4, 3, 5), shape(2, 2, 6, 5), shape(2, 2, 6, 7)]),
    attend('of flat operands with shared key heads', [shape(2, 4, 12), shape(2, 5, 6), shape(2, 5, 6)], {
      q_num_heads: 4,
      kv_num_heads: 2,
    }),
    attend('soft-capped', heads, { softcap: 1.5 }),
    attend('soft-capped with an additive mask', [...heads, shape(4, 6)], { softcap: 1.5 }),
    attend('soft-capped with a boolean mask', [...heads, visible], { softcap: 1.5 }),
    {
      ...attend('causal with a mask', [...heads, shape(4, 6)], { is_causal: 1 }),
      float32: 'Attention with both masks',
    },
    attend('after past keys', [
      shape(2, 3, 4, 5),
      shape(2, 3, 2, 5),
      shape(2, 3, 2, 7),
      shape(4, 6),
      shape(2, 3, 4, 5),
      shape(2, 3, 4, 7),
    ]),
    {
      ...attend(
        'causal after past keys',
        [shape(2, 3, 2, 5), shape(2, 3, 2, 5), shape(2, 3, 2, 7), shape(2, 6), shape(2, 3, 4, 5), shape(2, 3, 4, 7)],
        { is_causal: 1 },
      ),
      float32: 'Attention with both masks',
    },
    {
      ...attend('with a boolean mask that hides everything from a query', [
        ...heads,
        { shape: [4, 6], dtype: 'bool', values: Array.from({ length: 24 }, (_, i) => (i < 6 || i % 4 === 0 ? 0 : 1)) },
      ]),
      float32: 'Attention of a query that sees nothing (it gives NaN in float64)',
    },
    attendWithin('within lengths', heads, [6, 3]),
    attendWithin('within lengths, causal', heads, [6, 5], { is_causal: 1 }),
    attendWithin('within lengths, causal, some queries before all keys', heads, [6, 2], { is_causal: 1 }),
    attendWithin('within lengths, with a mask', [...heads, shape(4, 6)], [6, 3]),
    attendWithin('within lengths, with a boolean mask', [...heads, visible], [6, 3]),
    ...[0, 1, 2, 3].map((qk_matmul_output_mode) => ({
      name: `Attention and everything it gives, mode ${qk_matmul_output_mode}`,
      operands: [...heads, shape(4, 6)],
      build: (...[q, k, v, mask]: readonly Value[]) =>
        op.Attention(q!, k!, v!, mask!, { qk_matmul_output_mode, softcap: 2 }),
    })),
  ],
  RotaryEmbedding: [
    rotate('of halves', [2, 3, 4, 6], [2, 4, 3]),
    rotate('interleaved', [2, 3, 4, 6], [2, 4, 3], { interleaved: 1 }),
    rotate('in part', [2, 3, 5, 8], [2, 5, 2], { rotary_embedding_dim: 4 }),
    rotate('of flat heads', [2, 4, 18], [2, 4, 3], { num_heads: 3 }),
    rotate(
      'at positions',
      [2, 3, 4, 6],
      [10, 3],
      {},
      { shape: [2, 4], dtype: 'int64', values: [0, 1, 2, 3, 5, 6, 7, 9] },
    ),
  ],
} satisfies Cases<typeof attention>
