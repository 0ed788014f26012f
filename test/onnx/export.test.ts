import { describe, expect, it } from 'vitest'
import { constant, exportGraph, input, op, parameter, tensor, type Value } from '../../src/graph/index.js'

const x = input('x', 'float32', ['N'])

function graphOf(...outputs: readonly Value[]) {
  return exportGraph({
    name: 'shared',
    inputs: new Map([['x', x]]),
    outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
  }).graph!
}
const operators = (...outputs: readonly Value[]) =>
  graphOf(...outputs)
    .node.map(({ opType }) => opType)
    .sort()

describe('equal nodes', () => {
  it('over equal inputs are written once', () => {
    expect(operators(op.Neg(op.Exp(x)), op.Abs(op.Exp(x)))).toEqual(['Abs', 'Exp', 'Neg'])
  })

  it('random nodes > are not merged', () => {
    const drawn = () => op.RandomNormalLike(x)
    expect(operators(op.Sub(drawn(), drawn()))).toEqual(['RandomNormalLike', 'RandomNormalLike', 'Sub'])
  })

  it('zeros of different sign > are not merged', () => {
    const leaky = (alpha: number) => op.LeakyRelu(x, { alpha })
    expect(operators(op.Sub(leaky(0), leaky(-0)))).toEqual(['LeakyRelu', 'LeakyRelu', 'Sub'])
  })
})

describe('a tensor that is an output', () => {
  const w = parameter('w', tensor('float32', [1], Float32Array.of(2)))
  const written = (outputs: readonly (readonly [string, Value])[]) =>
    exportGraph({ name: 'leaves', inputs: new Map([['x', x]]), outputs: new Map(outputs) }).graph!

  it('keeps its name', () => {
    const { initializer, node } = written([
      ['y', op.Mul(x, w)],
      ['w', w],
    ])
    expect(initializer.map(({ name }) => name)).toEqual(['w'])
    expect(node.map(({ opType }) => opType)).toEqual(['Mul'])
  })

  it('with the name of another output > is renamed; with another output name > is copied', () => {
    const { initializer, node } = written([
      ['w', op.Mul(x, w)],
      ['v', w],
    ])
    expect(initializer.map(({ name }) => name)).toEqual(['w_0'])
    expect(node.map(({ opType, output }) => [opType, ...output])).toEqual([
      ['Mul', 'w'],
      ['Identity', 'v'],
    ])
  })
})

describe('equal constants are written once', () => {
  const initializers = (...tensors: readonly Parameters<typeof constant>[0][]) =>
    graphOf(...tensors.map((each) => constant(each))).initializer

  const floats = (...values: number[]) => tensor('float32', [values.length], Float32Array.from(values))
  it.each([
    ['elements', floats(1, 2), floats(1, 3)],
    ['the sign of a zero', floats(0), floats(-0)],
    ['types', floats(1), tensor('float64', [1], Float64Array.of(1))],
    ['dims', floats(1, 2), tensor('float32', [2, 1], Float32Array.of(1, 2))],
    ['bits of half floats', tensor('float16', [1], Uint16Array.of(0)), tensor('float16', [1], Uint16Array.of(0x8000))],
    ['the end of a string', tensor('string', [2], ['a,b', 'c']), tensor('string', [2], ['a', 'b,c'])],
  ])('constants that differ in %s > are both written', (_, a, b) => {
    expect(initializers(a, a)).toHaveLength(1)
    expect(initializers(a, b)).toHaveLength(2)
  })

  it('NaN is equal to itself', () => {
    expect(initializers(floats(Number.NaN), floats(Number.NaN))).toHaveLength(1)
  })
})
