import { describe, expect, it } from 'vitest'
import type { DType } from '../../src/ir/dtype.js'
import { input } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import type { Body, Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'

const value = (name: string, dtype: DType, ...shape: Shape): Value => input(name, dtype, shape)
const body = (inputs: readonly Value[], outputs: readonly Value[]): Body => ({
  kind: 'body',
  scope: { outer: undefined },
  inputs,
  outputs,
})
const x = (...shape: Shape) => value('x', 'float32', ...shape)
const [cond, m] = [value('cond', 'bool'), value('m', 'int64')]
const invalidModel = expect.objectContaining({ code: 'invalid-model' })
const shapes = (values: readonly Value[]) => values.map(({ shape }) => shape)

describe('If', () => {
  const branches = (then: readonly Value[], otherwise: readonly Value[]) =>
    op.If(cond, { then_branch: body([], then), else_branch: body([], otherwise) })

  it('branches of different shapes > returns the dims that the branches have in common', () => {
    const [a, b, c] = branches([x('N', 3), x(2, 5), x(1)], [x('N', 3), x(2, 7), x(1, 1)])
    expect(a).toMatchObject({ dtype: 'float32', shape: ['N', 3] })
    expect(b!.shape).toEqual([2, expect.stringMatching(/^\?/)])
    expect(c!.shape).toBeUndefined()
  })

  it('branches that differ in number or type of results > rejects', () => {
    expect(() => branches([x(1)], [])).toThrow(invalidModel)
    expect(() => branches([x(1)], [value('i', 'int64', 1)])).toThrow(invalidModel)
  })
})

describe('Loop', () => {
  const round = [value('i', 'int64'), value('go', 'bool')]

  it('a state of constant shape > returns that shape, and stacks scan outputs along a new axis', () => {
    const state = x('N', 3)
    const results = op.Loop(m, cond, [x('N', 3)], { body: body([...round, state], [cond, op.Neg(state), x('N')]) })
    expect(shapes(results)).toEqual([
      ['N', 3],
      [expect.stringMatching(/^\?/), 'N'],
    ])
  })

  it('a state that grows > returns an unknown dim', () => {
    const state = x('K', 3)
    const grown = op.Concat([state, x(1, 3)], { axis: 0 })
    expect(shapes(op.Loop(m, null, [x(0, 3)], { body: body([...round, state], [cond, grown]) }))).toEqual([
      [expect.stringMatching(/^\?/), 3],
    ])
  })

  it('a body without one of the states > rejects', () => {
    expect(() => op.Loop(m, cond, [x(1)], { body: body(round, [cond]) })).toThrow(invalidModel)
  })
})

describe('Scan', () => {
  it('scan axes > runs along the input axis and stacks along the output axis', () => {
    const [state, slice] = [x('N'), x('N')]
    const scan = body([state, slice], [op.Add(state, slice), slice])
    const results = op.Scan([x('N'), x('N', 'T')], {
      body: scan,
      num_scan_inputs: 1,
      scan_input_axes: [1],
      scan_output_axes: [-1],
    })
    expect(shapes(results)).toEqual([['N'], ['N', 'T']])
  })

  it('more scan inputs than inputs > rejects', () => {
    expect(() => op.Scan([x(3)], { body: body([], []), num_scan_inputs: 2 })).toThrow(invalidModel)
  })
})
