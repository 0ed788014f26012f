import { describe, expect, test } from 'vitest'
import { costOf, costs } from '../../../src/analysis/inspect/costs/index.js'
import { input, op, type Value } from '../../../src/graph/index.js'
import { control } from '../../../src/op/definitions/control.js'
import { definitions } from '../../../src/op/op.js'

const x = (...shape: (number | string)[]): Value => input('x', 'float32', shape)
const shifts = input('indices', 'int64', [3])

const cost = (y: Value): number => {
  if (y.source.kind !== 'node') throw new Error('not a node')
  return costOf(y.source)
}

test('every operator has a cost but those with bodies', () => {
  const expected = Object.keys(definitions).filter((name) => !Object.hasOwn(control, name))
  expect(Object.keys(costs).sort()).toEqual(expected.sort())
})

describe('by hand', () => {
  const cases: [string, Value, number][] = [
    // 4 x 4 outputs of 8 channels, 3 x 3 x 3 multiply-adds each
    ['Conv', op.Conv(x(2, 3, 6, 6), x(8, 3, 3, 3)), 2 * 8 * 16 * 27 * 2],
    ['Conv with a bias', op.Conv(x(1, 3, 6, 6), x(8, 3, 3, 3), x(8)), 8 * 16 * 27 * 2 + 8 * 16],
    ['depthwise Conv', op.Conv(x(1, 8, 6, 6), x(8, 1, 3, 3), { group: 8 }), 8 * 16 * 9 * 2],
    ['ConvTranspose', op.ConvTranspose(x(1, 4, 5, 5), x(4, 6, 2, 2), { strides: [2, 2] }), 100 * 6 * 4 * 2],
    ['MatMul', op.MatMul(x(5, 2, 3), x(3, 4)), 5 * 2 * 4 * 3 * 2],
    ['Gemm', op.Gemm(x(3, 2), x(3, 4), x(4), { transA: 1 }), 2 * 4 * 3 * 2 + 2 * 4],
    ['Einsum of two', op.Einsum([x(5, 2, 3), x(5, 3, 4)], { equation: 'bij,bjk->bik' }), 5 * 2 * 3 * 4 * 2],
    ['an outer product', op.Einsum([x(2), x(3)], { equation: 'i,j->ij' }), 6],
    ['a sum', op.Einsum([x(2, 3)], { equation: 'ij->i' }), 6],
    // (2 x 3)(3 x 4), then (2 x 4)(4 x 5)
    ['Einsum of three', op.Einsum([x(2, 3), x(3, 4), x(4, 5)], { equation: 'ij,jk,kl->il' }), 2 * 24 + 2 * 40],
    ['Add, broadcast', op.Add(x(4, 1), x(5)), 20],
    ['Softmax', op.Softmax(x(4, 5)), 100],
    ['ReduceMean', op.ReduceMean(x(4, 5), [1]), 20],
    ['GlobalAveragePool', op.GlobalAveragePool(x(1, 2, 3, 3)), 18],
    ['MaxPool', op.MaxPool(x(1, 2, 4, 4), { kernel_shape: [2, 2], strides: [2, 2] })[0], 2 * 4 * 4],
    ['BatchNormalization', op.BatchNormalization(x(1, 3, 2, 2), x(3), x(3), x(3), x(3))[0], 24],
    ['LayerNormalization', op.LayerNormalization(x(4, 8), x(8), x(8))[0], 7 * 32],
    ['bilinear Resize', op.Resize(x(1, 1, 4, 4), null, null, [1, 1, 8, 8], { mode: 'linear' }), 64 * 4 * 2],
    ['nearest Resize', op.Resize(x(1, 1, 4, 4), null, null, [1, 1, 8, 8]), 0],
    // 6 steps of 2 sequences: [4 x 3] x + [4 x 3] h for four gates of 3 units, then 3 operations per gate and 5 per unit
    [
      'LSTM',
      op.LSTM(x(6, 2, 5), x(1, 12, 5), x(1, 12, 3), x(1, 24))[0],
      12 * (2 * 12 * 5 + 2 * 12 * 3 + 3 * 12 + 5 * 3),
    ],
    // Scores and values of 2 heads, 4 queries, 4 keys; 6 operations per score
    ['Attention', op.Attention(x(1, 2, 4, 8), x(1, 2, 4, 8), x(1, 2, 4, 8))[0], 32 * (16 + 16 + 6)],
    ['Gather', op.Gather(x(10, 4), shifts), 0],
    ['Transpose', op.Transpose(x(2, 3), { perm: [1, 0] }), 0],
  ]
  test.each(cases)('%s', (_, y, operations) => {
    expect(cost(y)).toBe(operations)
  })

  test('a length that is not known', () => {
    expect(cost(op.MatMul(x('N', 3), x(3, 4)))).toBeNaN()
    expect(cost(op.Transpose(x('N', 3), { perm: [1, 0] }))).toBe(0)
  })
})
