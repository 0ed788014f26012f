import { describe, expect, it } from 'vitest'
import { evaluateDim } from '../../src/ir/dim.js'
import { addDims, ceilDivDims, type Dim, divDims, mulDims, subDims } from '../../src/ir/shape.js'

const lengths = new Map([
  ['N', 7],
  ['H', 12],
  ['seq-len', 5],
  ['2d', 9],
])

describe('value of a dim expression', () => {
  it.each<[Dim, number | undefined]>([
    [3, 3],
    ['N', 7],
    ['seq-len', 5],
    ['2d', 9],
    ['M', undefined],
    ['N+M', undefined],
    ['floor(H-1', undefined],
    ['5-N', undefined],
    ['max(0,5-N)', 0],
    ['min(N,512)', 7],
    ['(H+1)*2+3', 29],
    ['floor((H-1)/2)+1', 6],
    ['ceil(N/2)*H', 48],
    ['N*0.5', undefined],
    ['N/3', undefined],
    ['ceil(N/3)', 3],
    ['ceil((N/3)*2)', 5],
    ['floor(N/3+1)', 3],
    ['round(N*0.5)', 4],
    ['round((N-2)*0.5)', 2],
  ])('%s is %s', (dim, value) => {
    expect(evaluateDim(dim, lengths)).toBe(value)
  })

  it('symbols replaced by numbers > equals the arithmetic of numbers', () => {
    const forms: ((n: Dim, h: Dim) => Dim)[] = [
      (n, h) => addDims(mulDims(n, h), 3),
      (n, h) => subDims(mulDims(addDims(n, 4), h), n),
      (_, h) => divDims(subDims(h, 3), 2),
      (n, h) => ceilDivDims(addDims(mulDims(n, 3), h), 4),
      (n, h) => mulDims(divDims(h, n), addDims(n, 1)),
    ]
    for (const form of forms) expect(evaluateDim(form('N', 'H'), lengths)).toBe(form(7, 12))
  })
})
