import { describe, expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'

const x = (...shape: Shape): Value => input('x', 'float32', shape)
const labels = (...shape: Shape): Value => input('labels', 'int64', shape)
const unranked = input('x', 'float32', undefined)

describe('normalizations > shapes', () => {
  it('LayerNormalization > returns one mean and one inverse deviation per row', () => {
    expect(op.LayerNormalization(x('N', 'T', 8), x(8)).map(({ shape }) => shape)).toEqual([
      ['N', 'T', 8],
      ['N', 'T', 1],
      ['N', 'T', 1],
    ])
    expect(op.LayerNormalization(x('N', 4, 8), x(4, 8), null, { axis: 1 })[1].shape).toEqual(['N', 1, 1])
    expect(op.LayerNormalization(unranked, x(8))[1].shape).toBeUndefined()
  })

  it('losses > return the shape of the labels, or a scalar', () => {
    const [loss, logProb] = op.SoftmaxCrossEntropyLoss(x('N', 10, 'T'), labels('N', 'T'), { reduction: 'none' })
    expect([loss.shape, logProb.shape]).toEqual([
      ['N', 'T'],
      ['N', 10, 'T'],
    ])
    expect(op.NegativeLogLikelihoodLoss(unranked, labels('N')).shape).toEqual([])
  })

  it('Attention > accepts heads (rank 4) and flat rows (rank 3)', () => {
    const shapes = (values: readonly Value[]) => values.map(({ shape }) => shape)
    expect(shapes(op.Attention(x('B', 8, 'T', 64), x('B', 2, 'S', 64), x('B', 2, 'S', 32)))).toEqual([
      ['B', 8, 'T', 32],
      ['B', 2, 'S', 64],
      ['B', 2, 'S', 32],
      ['B', 8, 'T', 'S'],
    ])
    const past = [x('B', 2, 'P', 16), x('B', 2, 'P', 16)] as const
    const flat = op.Attention(x('B', 'T', 128), x('B', 'T', 32), x('B', 'T', 32), null, ...past, {
      q_num_heads: 8,
      kv_num_heads: 2,
    })
    expect(shapes(flat).slice(0, 2)).toEqual([
      ['B', 'T', 128],
      ['B', 2, 'P+T', 16],
    ])
  })
})

describe('normalizations > invalid operands', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'a scale of another length',
      () => op.InstanceNormalization(x(2, 3, 4), x(4), x(3)),
      /\[4\] is not one number for each of the 3/,
    ],
    ['data without channels', () => op.BatchNormalization(x(3), x(3), x(3), x(3), x(3)), /needs the axes \[N, C/],
    [
      'groups that do not divide the channels',
      () => op.GroupNormalization(x(2, 5, 4), x(5), x(5), { num_groups: 2 }),
      /do not fall into 2 groups/,
    ],
    [
      'zero groups',
      () => op.GroupNormalization(x(2, 4, 4), x(4), x(4), { num_groups: 0 }),
      /do not fall into 0 groups/,
    ],
    ['a scale wider than the data', () => op.LayerNormalization(x(2, 4), x(3, 2, 4)), /does not broadcast to \[2, 4\]/],
    ['an axis outside the rank', () => op.RMSNormalization(x(2, 4), x(4), { axis: 2 }), /axis 2 is outside/],
    ['a norm that is neither 1 nor 2', () => op.LpNormalization(x(2, 4), { p: 3 }), /p is 1 or 2/],
    ['an empty window', () => op.LRN(x(2, 4, 4, 4), { size: 0 }), /window of 0 channels/],
    [
      'labels of another rank',
      () => op.NegativeLogLikelihoodLoss(x(2, 4, 4), labels(2)),
      /labels \[2\] are not one for each of \[2, 4\]/,
    ],
    ['an unknown reduction', () => op.SoftmaxCrossEntropyLoss(x(2, 4), labels(2), { reduction: 'max' }), /not 'max'/],
    ['flat heads without a head count', () => op.Attention(x(2, 4, 8), x(2, 4, 8), x(2, 4, 8)), /needs the axes/],
    [
      'head counts that do not divide',
      () => op.Attention(x(2, 3, 4, 8), x(2, 2, 4, 8), x(2, 2, 4, 8)),
      /3 query heads do not share 2 key heads/,
    ],
  ])('%s > rejects', (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ name: 'OnnxIreError', message: expect.stringMatching(message) }))
  })
})
