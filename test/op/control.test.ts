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

  it('gives what its branches have in common', () => {
    const [a, b, c] = branches([x('N', 3), x(2, 5), x(1)], [x('N', 3), x(2, 7), x(1, 1)])
    expect(a).toMatchObject({ dtype: 'float32', shape: ['N', 3] })
    expect(b!.shape).toEqual([2, expect.stringMatching(/^\?/)])
    expect(c!.shape).toBeUndefined()
  })

  it('refuses branches that differ in number or type', () => {
    expect(() => branches([x(1)], [])).toThrow(invalidModel)
    expect(() => branches([x(1)], [value('i', 'int64', 1)])).toThrow(invalidModel)
  })
})

describe('Loop', () => {
  const round = [value('i', 'int64'), value('go', 'bool')]

  it('keeps the type of a state that the body keeps, and stacks slices along a new axis', () => {
    const state = x('N', 3)
    const results = op.Loop(m, cond, [x('N', 3)], { body: body([...round, state], [cond, op.Neg(state), x('N')]) })
    expect(shapes(results)).toEqual([
      ['N', 3],
      [expect.stringMatching(/^\?/), 'N'],
    ])
  })

  it('forgets the length of a state that grows', () => {
    const state = x('K', 3)
    const grown = op.Concat([state, x(1, 3)], { axis: 0 })
    expect(shapes(op.Loop(m, null, [x(0, 3)], { body: body([...round, state], [cond, grown]) }))).toEqual([
      [expect.stringMatching(/^\?/), 3],
    ])
  })

  it('refuses a body that loses a state', () => {
    expect(() => op.Loop(m, cond, [x(1)], { body: body(round, [cond]) })).toThrow(invalidModel)
  })
})

describe('Scan', () => {
  it('runs along the scanned axis and stacks along the asked one', () => {
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

  it('refuses more scanned inputs than it has', () => {
    expect(() => op.Scan([x(3)], { body: body([], []), num_scan_inputs: 2 })).toThrow(invalidModel)
  })
})
