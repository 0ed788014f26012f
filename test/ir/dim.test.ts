import { describe, expect, it } from 'vitest'
import { addDims, ceilDivDims, type Dim, divDims, factorsOf, mulDims, subDims } from '../../src/ir/dim.js'

describe('arithmetic of dims', () => {
  it.each<[Dim, Dim]>([
    [addDims(2, 3), 5],
    [addDims('N', 0), 'N'],
    [addDims(1, 'N'), 'N+1'],
    [addDims('N', -1), 'N-1'],
    [addDims(addDims('N', 1), 2), 'N+3'],
    [addDims(subDims('N', 1), 1), 'N'],
    [addDims('N', 'N'), 'N*2'],
    [addDims('past', 'seq'), addDims('seq', 'past')],
    [subDims(addDims('past', 'seq'), 'past'), 'seq'],
    [subDims('N', 'N'), 0],
    [subDims('N', subDims('N', 'S')), 'S'],
    [subDims(5, 'N'), '5-N'],
    [subDims(subDims(5, 'N'), 5), '0-N'],
    [addDims(subDims(0, 'N'), 'N'), 0],
    [addDims('floor((H-1)/2)', 1), 'floor((H-1)/2)+1'],
    [addDims(mulDims(addDims('H', 1), 2), 3), '(H+1)*2+3'],
    [mulDims('N', 1), 'N'],
    [mulDims('N', 0), 0],
    [mulDims(2, 'N'), 'N*2'],
    [mulDims(mulDims('N', 3), 4), 'N*12'],
    [mulDims('S', 'B'), 'B*S'],
    [mulDims(addDims('N', 1), 'B'), 'B*(N+1)'],
    [mulDims(mulDims('N', 2), 0.5), 'N'],
    [mulDims('N', -2), '0-N*2'],
    [addDims(mulDims('N', -2), mulDims('N', 3)), 'N'],
    [divDims(7, 2), 3],
    [ceilDivDims(7, 2), 4],
    [divDims('N', 2), 'floor(N/2)'],
    [ceilDivDims(subDims('N', 1), 2), 'ceil((N-1)/2)'],
    [divDims(mulDims('N', 6), 3), 'N*2'],
    [divDims(mulDims('B', 'S'), 'B'), 'S'],
    [divDims('N', 'N'), 1],
    [divDims(addDims('N', 2), addDims('N', 2)), 1],
  ])('%s is %s', (computed, expected) => {
    expect(computed).toBe(expected)
  })

  it('names > are parsed only if they are expressions', () => {
    expect(factorsOf('B*(N+1)*2')).toEqual(['B', 'N+1', 2])
    expect(factorsOf('floor(A*B/2)')).toEqual(['floor(A*B/2)'])
    expect(addDims('batch--size', 1)).toBe('(batch--size)+1')
    expect(subDims(addDims('batch--size', 1), 1)).toBe('batch--size')
  })

  it('symbols replaced by numbers > equals the arithmetic of numbers', () => {
    const values: Readonly<Record<string, number>> = { N: 7, H: 5, 'a.b': 3 }
    const numberFor = (dim: Dim): number =>
      new Function('floor', 'ceil', `return ${`${dim}`.replace(/a\.b|[NH]/g, (symbol) => `${values[symbol]}`)}`)(
        Math.floor,
        Math.ceil,
      )
    let state = 12345
    const below = (n: number) => {
      state = (state * 1103515245 + 12345) % 2 ** 31
      return Math.floor((state / 2 ** 31) * n)
    }
    for (let trial = 0; trial < 3000; trial++) {
      let dim: Dim = 'N'
      let value = 7
      for (let step = 0; step < 6; step++) {
        const other = (['N', 'H', 'a.b', 1, 2, 3, 'floor(N/2)'] as const)[below(7)]!
        const operand = numberFor(other)
        const [compute, expected] = (
          [
            [addDims, value + operand],
            [subDims, value - operand],
            [mulDims, value * operand],
            [divDims, Math.floor(value / operand)],
            [ceilDivDims, Math.ceil(value / operand)],
          ] as const
        )[below(5)]!
        ;[dim, value] = [compute(dim, other), expected]
        if (`${dim}`.startsWith('?')) break
        expect(numberFor(dim) + 0, `${dim}`).toBe(value + 0)
      }
    }
  })
})
