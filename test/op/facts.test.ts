import { describe, expect, it, test } from 'vitest'
import { input, type Node, op, scalar, type Value } from '../../src/graph/index.js'
import { control } from '../../src/op/definitions/control.js'
import { filterAxesOf, findDefinition, flopsOf, inputsWith, isInput, isRandom } from '../../src/op/facts.js'
import { definitionOf, definitions } from '../../src/op/op.js'

const x = (...shape: (number | string)[]): Value => input('x', 'float32', shape)
const shifts = input('indices', 'int64', [3])

const nodeOf = ({ source }: Value): Node => {
  if (source.kind !== 'node') throw new Error('not a node')
  return source
}
const flops = (y: Value): number => flopsOf(nodeOf(y))

describe('isInput', () => {
  it('finds an input by its position, optional and variadic ones included', () => {
    const slots = (operator: string, fact: Parameters<typeof isInput>[1]) =>
      [0, 1, 2, 3, 4, 5].filter((index) => isInput(definitionOf(operator), fact, index))
    expect(slots('Conv', 'weights')).toEqual([1, 2])
    expect(slots('Einsum', 'weights')).toEqual([0, 1, 2, 3, 4, 5])
    expect(slots('Slice', 'hostInputs')).toEqual([1, 2, 3, 4])
    expect(slots('Relu', 'weights')).toEqual([])
  })
})

describe('inputsWith', () => {
  it('returns the operands in the list and leaves out absent ones', () => {
    const [w, b] = [x(8, 3, 3, 3), x(8)]
    expect(inputsWith('weights', nodeOf(op.Conv(x(1, 3, 6, 6), w, b)))).toEqual([w, b])
    expect(inputsWith('weights', nodeOf(op.Conv(x(1, 3, 6, 6), w)))).toEqual([w])
  })
})

describe('findDefinition', () => {
  it('returns undefined for another domain, and for names that objects inherit', () => {
    expect(findDefinition('', 'Conv')).toBe(definitions.Conv)
    expect(findDefinition('com.microsoft', 'Conv')).toBeUndefined()
    expect(findDefinition('', 'constructor')).toBeUndefined()
  })
})

describe('isRandom', () => {
  it('is true for random operators, and for Dropout unless its training mode is known to be off', () => {
    const dropout = (training?: Value) => nodeOf(op.Dropout(x(3), scalar('float32', 0.5), training ?? null)[0])
    expect(isRandom(nodeOf(op.Bernoulli(x(3))))).toBe(true)
    expect(isRandom(nodeOf(op.Relu(x(3))))).toBe(false)
    expect(isRandom(dropout())).toBe(false)
    expect(isRandom(dropout(scalar('bool', 0)))).toBe(false)
    expect(isRandom(dropout(scalar('bool', 1)))).toBe(true)
    expect(isRandom(dropout(input('training', 'bool', [])))).toBe(true)
  })
})

describe('filterAxesOf', () => {
  it('depends on the operator, the input and the attributes', () => {
    const gemm = (transB: number) => nodeOf(op.Gemm(x(2, 3), transB ? x(4, 3) : x(3, 4), null, { transB }))
    expect(filterAxesOf(gemm(0), 1, 2)).toEqual([1])
    expect(filterAxesOf(gemm(1), 1, 2)).toEqual([0])
    expect(filterAxesOf(nodeOf(op.Relu(x(3))), 0, 1)).toBeUndefined()
  })
})

test('flops > every operator except those with bodies has a number of operations', () => {
  const without = Object.entries(definitions).filter(([, { flops }]) => flops === undefined)
  expect(without.map(([name]) => name).sort()).toEqual(Object.keys(control).sort())
})

describe('flopsOf > counted by hand', () => {
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
    // 6 steps of 2 sequences: [4 x 3] x + [4 x 3] h for four gates of 3 units, then 3 operations per gate and 5 per
    // unit
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
    expect(flops(y)).toBe(operations)
  })

  test('is NaN if a length it depends on is unknown', () => {
    expect(flops(op.MatMul(x('N', 3), x(3, 4)))).toBeNaN()
    expect(flops(op.Transpose(x('N', 3), { perm: [1, 0] }))).toBe(0)
  })
})
