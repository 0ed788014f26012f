import { describe, expect, it } from 'vitest'
import type { DType } from '../../../src/ir/dtype.js'
import { constant, constantNumber, input } from '../../../src/ir/leaf.js'
import type { Dim } from '../../../src/ir/shape.js'
import { tensor } from '../../../src/ir/tensor.js'
import type { Value } from '../../../src/ir/value.js'
import { evaluate, vector } from '../../grad/evaluate.js'
import { errorAt } from '../errors.js'
import { importNode } from './import-node.js'

const x = (...shape: readonly Dim[]) => input('x', 'float32', shape)
const ramp = (...dims: readonly number[]): Value => {
  const length = dims.reduce((a, b) => a * b, 1)
  return constant(
    tensor(
      'float32',
      dims,
      Float32Array.from({ length }, (_, i) => i),
    ),
  )
}

describe('before operator set 7', () => {
  it.each(['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Equal', 'Less', 'Greater'])(
    '%s broadcasts along an axis',
    (operator) => {
      const [y] = importNode(operator, 6, [x(2, 3, 4, 5), x(3, 4)], { broadcast: 1, axis: 1 })
      expect(y!.shape).toEqual([2, 3, 4, 5])
      expect(y!.source).toMatchObject({ inputs: [{ shape: [2, 3, 4, 5] }, { shape: [3, 4, 1] }] })
    },
  )

  it('Add broadcasts along an axis counted from the end, and at the end', async () => {
    const values = await evaluate(
      importNode('Add', 1, [ramp(2, 3), ramp(2)], { broadcast: 1, axis: -2, consumed_inputs: [0, 0] })[0]!,
      importNode('Add', 6, [ramp(2, 3), ramp(3)], { broadcast: 1 })[0]!,
      importNode('Add', 6, [ramp(2, 3), ramp(2, 3)], { broadcast: 0 })[0]!,
    )
    expect(values).toEqual([
      [0, 1, 2, 4, 5, 6],
      [0, 2, 4, 3, 5, 7],
      [0, 2, 4, 6, 8, 10],
    ])
  })

  it('Add > broadcast that is impossible or of unknown rank > throws invalid-shape', () => {
    const expectError = (a: Value, b: Value, place: RegExp) =>
      expect(() => importNode('Add', 6, [a, b], { broadcast: 1, axis: 1 })).toThrow(errorAt('invalid-shape', place))
    expectError(input('a', 'float32', undefined), x(2), /^Add: .*axis 1/)
    expectError(x(2, 3), x(2, 3), /^Add: \[2, 3\] .*\[2, 3\] .*axis 1/)
  })

  it('PRelu has a slope per channel', () => {
    const slopes = (slope: Value) => importNode('PRelu', 6, [x(2, 3, 4, 4), slope])[0]!.source
    expect(slopes(x(3))).toMatchObject({ inputs: [{}, { shape: [3, 1, 1] }] })
    expect(slopes(x(1))).toMatchObject({ inputs: [{}, { shape: [1] }] })
  })

  it.each(['Relu', 'Sigmoid', 'Exp', 'Elu', 'Clip', 'Sum'])('%s > consumed_inputs > is removed', (operator) => {
    expect(importNode(operator, 1, [x(2)], { consumed_inputs: [0] })[0]!.shape).toEqual([2])
  })

  it('Selu > has the old defaults', async () => {
    const old = importNode('Selu', 1, [vector('x', 1, -1e4)])
    const given = importNode('Selu', 5, [vector('x', 1, -1e4)], { alpha: 2, gamma: 3 })
    const [before, other] = await evaluate(old[0]!, given[0]!)
    expect(before![0]).toBeCloseTo(1.0507, 6)
    expect(before![1]).toBeCloseTo(-1.0507 * 1.6732, 6)
    expect(other).toEqual([3, -6])
  })

  it.each<[string, DType]>([
    ['FLOAT', 'float32'],
    ['DOUBLE', 'float64'],
    ['INT64', 'int64'],
    ['FLOAT16', 'float16'],
    ['BOOL', 'bool'],
  ])('Cast named %s', (name, dtype) => {
    expect(importNode('Cast', 5, [x(2)], { to: name })[0]!.dtype).toBe(dtype)
  })

  it('Cast > to an unsupported type > throws unsupported-operator', () => {
    expect(() => importNode('Cast', 5, [x(2)], { to: 'COMPLEX64' })).toThrow(
      errorAt('unsupported-operator', "'COMPLEX64'"),
    )
  })

  it('Dropout > is in training mode unless is_test is 1', () => {
    const [at, mask] = importNode('Dropout', 6, [x(2, 3)], { ratio: 0.25 }, 2)
    const node = at!.source.kind === 'node' ? at!.source : undefined
    expect(node?.inputs.slice(1).map(constantNumber)).toEqual([0.25, 1])
    expect(mask).toMatchObject({ dtype: 'float32', shape: [2, 3] })
    const resting = importNode('Dropout', 6, [x(2, 3)], { ratio: 0.25, is_test: 1 })[0]!.source
    expect(resting.kind === 'node' && resting.inputs.length).toBe(2)
  })
})

describe('from operator set 7 on', () => {
  it('Clip > bounds are inputs from 11 on', async () => {
    const clipped = (attributes: Record<string, number>) =>
      importNode('Clip', 6, [vector('x', -9, 0, 9)], attributes)[0]!
    const values = await evaluate(clipped({ min: -1, max: 2 }), clipped({ min: -1 }), clipped({ max: 2 }), clipped({}))
    expect(values).toEqual([
      [-1, 0, 2],
      [-1, 0, 9],
      [-9, 0, 2],
      [-9, 0, 9],
    ])
  })

  it.each([
    ['ReduceSum', 11],
    ['ReduceMean', 13],
    ['ReduceMax', 17],
    ['ReduceL2', 1],
    ['ReduceLogSumExp', 12],
  ])('%s of operator set %i has its axes as an attribute', (operator, version) => {
    const [y] = importNode(operator, version, [x(2, 3, 4)], { axes: [0, -1], keepdims: 0 })
    expect(y!.shape).toEqual([3])
    expect(importNode(operator, version, [x(2, 3, 4)])[0]!.shape).toEqual([1, 1, 1])
  })

  it('TopK > k is an input from 10 on', () => {
    expect(importNode('TopK', 9, [x(2, 5)], { k: 3, axis: 1 }, 2).map(({ shape }) => shape)).toEqual([
      [2, 3],
      [2, 3],
    ])
  })

  it('Dropout > the mask has the type of the input until 9, and is boolean from 10 on', () => {
    const mask = (version: number) => importNode('Dropout', version, [x(2)], { ratio: 0.25 }, 2)[1]!.dtype
    expect([7, 9, 10, 11].map(mask)).toEqual(['float32', 'float32', 'bool', 'bool'])
  })

  it('Cast and CastLike > take the rounding to 8-bit floats of operator set 24', () => {
    expect(importNode('Cast', 24, [x(2)], { to: 11, round_mode: 'up' })[0]!.dtype).toBe('float64')
    expect(importNode('CastLike', 25, [x(2), x(1)], { round_mode: 'up' })[0]!.dtype).toBe('float32')
  })

  it('Dropout > keeps its ratio, with a mask and without', () => {
    const ratio = (version: number, outputs: number) => {
      const { source } = importNode('Dropout', version, [x(2)], { ratio: 0.25 }, outputs)[0]!
      return source.kind === 'node' ? constantNumber(source.inputs[1]) : undefined
    }
    for (const version of [7, 9, 10, 11])
      expect([ratio(version, 1), ratio(version, 2)], `operator set ${version}`).toEqual([0.25, 0.25])
  })
})
