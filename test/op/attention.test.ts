import { describe, expect, it } from 'vitest'
import { exportGraph } from '../../src/graph/index.js'
import { input } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'

describe('Attention', () => {
  const [q, k, v] = ['q', 'k', 'v'].map((name) => input(name, 'float32', ['N', 2, 'T', 4])) as [Value, Value, Value]
  const lengths = input('lengths', 'int64', ['N'])
  const operatorSet = (...inputs: readonly [Value, Value, Value, ...Value[]]): number => {
    const [q, k, v, lengths] = inputs
    const [y] = op.Attention(q, k, v, null, null, null, lengths ?? null)
    const graph = { name: 'test', inputs: new Map(inputs.map((x) => [x.name!, x])), outputs: new Map([['y', y]]) }
    return Number(exportGraph(graph).opsetImport[0]!.version)
  }

  it('optional inputs > the opset is the first that has all given inputs', () => {
    expect(operatorSet(q, k, v)).toBe(23)
    expect(operatorSet(q, k, v, lengths)).toBe(24)
  })

  it('past keys > add to the length of the keys', () => {
    const past = input('past', 'float32', ['N', 2, 'P', 4])
    const [y, presentKey] = op.Attention(q, k, v, null, past, past)
    expect([y.shape, presentKey.shape]).toEqual([
      ['N', 2, 'T', 4],
      ['N', 2, 'P+T', 4],
    ])
  })

  it('head counts that cannot share keys > rejects', () => {
    const three = input('q', 'float32', ['N', 3, 'T', 4])
    expect(() => op.Attention(three, k, v)).toThrow(/3 query heads do not share 2 key heads/)
  })
})
