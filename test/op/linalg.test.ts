import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { input } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'

const x = (...shape: Shape): Value => input('x', 'float32', shape)
const unranked = input('x', 'float32', undefined)
const einsum = (equation: string, ...xs: readonly Value[]) => op.Einsum(xs, { equation }).shape
const invalidShape = (message: RegExp) =>
  expect.objectContaining({ code: 'invalid-shape', message: expect.stringMatching(message) })

describe('MatMul', () => {
  it.each<[Shape, Shape, Shape]>([
    [
      ['N', 3],
      [3, 'M'],
      ['N', 'M'],
    ],
    [[3], [3], []],
    [[3], ['B', 3, 4], ['B', 4]],
    [['B', 2, 3], [3], ['B', 2]],
    [
      ['B', 'T', 64],
      [64, 'V'],
      ['B', 'T', 'V'],
    ],
    [
      ['B', 1, 'T', 8],
      [6, 8, 'S'],
      ['B', 6, 'T', 'S'],
    ],
  ])('%j and %j > returns %j', (a, b, y) => {
    expect(op.MatMul(x(...a), x(...b)).shape).toEqual(y)
  })

  it('inner dims that differ > rejects', () => {
    expect(() => op.MatMul(x('N', 3), x(4, 5))).toThrow(invalidShape(/inner dimensions 3 and 4 differ/))
    expect(() => op.MatMul(x(2, 4, 3), x(5, 3, 1))).toThrow(invalidShape(/do not broadcast/))
    expect(() => op.MatMul(x(), x(3))).toThrow(invalidShape(/no scalars/))
    expect(() => op.MatMul(x(2, 3), input('b', 'float64', [3, 4]))).toThrow(invalidShape(/types differ/))
  })

  it('operands of unknown rank > returns an unknown rank', () => {
    expect(op.MatMul(unranked, x(3, 4)).shape).toBeUndefined()
  })

  it('gradient of a weight under a batched activation > is one product', () => {
    const [a, w] = [x('B', 'T', 64), input('w', 'float32', [64, 32])]
    const y = op.MatMul(a, w)
    const [dw] = gradients([[y, input('dy', 'float32', y.shape)]], [w])
    expect(dw!.source).toMatchObject({ operator: 'Gemm', attributes: { transA: 1, transB: 0 } })
    expect(dw!.source).toMatchObject({
      inputs: [{ source: { operator: 'Flatten' } }, { source: { operator: 'Flatten' } }],
    })
  })
})

describe('Gemm', () => {
  it('a broadcast third operand > returns a matrix', () => {
    expect(op.Gemm(x(3, 'N'), x(4, 3), x('N', 1), { transA: 1, transB: 1 }).shape).toEqual(['N', 4])
    expect(op.Gemm(x('N', 3), x(3, 4), x()).shape).toEqual(['N', 4])
  })

  it('operands that are not matrices > rejects', () => {
    expect(() => op.Gemm(x(2, 3, 4), x(4, 5))).toThrow(invalidShape(/takes matrices/))
    expect(() => op.Gemm(x(2, 3), x(3, 4), x(5))).toThrow(invalidShape(/do not broadcast/))
    expect(() => op.Gemm(x(2, 3), x(3, 4), x(7, 2, 4))).toThrow(invalidShape(/does not broadcast to \[2, 4\]/))
    expect(() => op.Gemm(x(1, 3), x(3, 4), x(7, 4))).toThrow(invalidShape(/does not broadcast to \[1, 4\]/))
  })

  it('gradient > contains no Transpose', () => {
    for (const transA of [0, 1]) {
      for (const transB of [0, 1]) {
        const [a, b] = [
          input('a', 'float32', transA ? [3, 2] : [2, 3]),
          input('b', 'float32', transB ? [4, 3] : [3, 4]),
        ]
        const y = op.Gemm(a, b, null, { transA, transB })
        const dy = input('dy', 'float32', [2, 4])
        for (const dx of gradients([[y, dy]], [a, b])) {
          expect(dx!.source).toMatchObject({ operator: 'Gemm' })
          expect((dx!.source as { inputs: readonly Value[] }).inputs.every((value) => [a, b, dy].includes(value))).toBe(
            true,
          )
        }
      }
    }
  })
})

describe('Einsum', () => {
  it.each<[string, Shape[], Shape]>([
    [
      'bhid,bhjd->bhij',
      [
        ['B', 12, 'S', 64],
        ['B', 12, 'T', 64],
      ],
      ['B', 12, 'S', 'T'],
    ],
    [
      '...ij,jk->...ik',
      [
        ['B', 'T', 8],
        [8, 3],
      ],
      ['B', 'T', 3],
    ],
    [
      ' i j , j k ',
      [
        ['M', 2],
        [2, 'N'],
      ],
      ['M', 'N'],
    ],
    ['ba', [['X', 'Y']], ['Y', 'X']],
    ['i,i->', [['N'], ['N']], []],
    [
      '...a,...b->...ab',
      [
        [1, 'T', 2],
        ['B', 'T', 3],
      ],
      ['B', 'T', 2, 3],
    ],
  ])('%s', (equation, shapes, y) => {
    expect(einsum(equation, ...shapes.map((shape) => x(...shape)))).toEqual(y)
  })

  it('an operand of unknown rank > the dims of its labels come from the other operand', () => {
    expect(einsum('ij,jk->k', unranked, x(2, 'N'))).toEqual(['N'])
    expect(einsum('...j,jk->...k', unranked, x(2, 'N'))).toBeUndefined()
  })

  it.each<[string, Shape[], string]>([
    ['ij->ik', [[2, 3]], 'invalid-model'],
    ['ij->ii', [[2, 3]], 'invalid-model'],
    ['ij,jk->ik', [[2, 3]], 'invalid-model'],
    ['i1->i', [[2, 3]], 'invalid-model'],
    ['i->j->k', [[2]], 'invalid-model'],
    ['ij->i', [[2]], 'invalid-shape'],
    ['...ijk->...i', [[2, 3]], 'invalid-shape'],
    [
      'ij,jk->ik',
      [
        [2, 3],
        [4, 5],
      ],
      'invalid-shape',
    ],
  ])('%s of %j > rejects', (equation, shapes, code) => {
    expect(() => einsum(equation, ...shapes.map((shape) => x(...shape)))).toThrow(expect.objectContaining({ code }))
  })

  it('gradient of a repeated label > rejects with the label', () => {
    const y = op.Einsum([unranked], { equation: 'i...i->...' })
    expect(() => gradients([[y, y]], [unranked])).toThrow(
      expect.objectContaining({
        code: 'not-differentiable',
        message: expect.stringContaining("a diagonal before an ellipsis ('i...i')"),
      }),
    )
  })
})

describe('Det', () => {
  it('batches of square matrices > returns one determinant per matrix', () => {
    expect(op.Det(x('B', 3, 3)).shape).toEqual(['B'])
    expect(() => op.Det(x(2, 3))).toThrow(invalidShape(/square/))
  })
})
