import { describe, expect, it } from 'vitest'
import { constant, input, tensorFrom } from '../../../src/ir/leaf.js'
import type { Shape } from '../../../src/ir/shape.js'
import type { Value } from '../../../src/ir/value.js'
import { evaluate } from '../../grad/evaluate.js'
import { importNode } from './import-node.js'

const x = (...shape: Shape): Value => input('x', 'float32', shape)
const filled = (dims: readonly number[], value: (i: number) => number): Value => {
  const length = dims.reduce((a, b) => a * b, 1)
  return constant(
    tensorFrom(
      'float32',
      dims,
      Array.from({ length }, (_, i) => value(i)),
    ),
  )
}

describe('BatchNormalization', () => {
  const operands = [x('N', 2, 3), x(2), x(2), x(2), x(2)]
  const batch = filled([2, 2, 3], (i) => i)
  const ones = filled([2], () => 1)

  it.each([1, 6])('of operator set %i in test mode', (version) => {
    const attributes = { is_test: 1, spatial: 1, ...(version === 1 ? { consumed_inputs: [0, 0, 0, 1, 1] } : {}) }
    const [y, ...more] = importNode('BatchNormalization', version, operands, attributes)
    expect(more).toEqual([])
    expect(y!.source).toMatchObject({ attributes: { training_mode: 0 } })
  })

  it('more than one output > is in training mode, and returns batch statistics', async () => {
    const outputs = importNode('BatchNormalization', 9, [batch, ones, ones, ones, ones], { momentum: 0.5 }, 5)
    const [, runningMean, runningVar, savedMean, savedVar] = await evaluate(...outputs)
    const means = [4, 7]
    const variances = [29 / 3, 29 / 3]
    means.forEach((mean, i) => {
      expect(savedMean![i]).toBeCloseTo(mean, 5)
      expect(runningMean![i]).toBeCloseTo(0.5 + 0.5 * mean, 5)
      expect(savedVar![i]).toBeCloseTo(variances[i]!, 4)
      expect(runningVar![i]).toBeCloseTo(0.5 + 0.5 * variances[i]!, 4)
    })
  })

  it('spatial = 0 > throws unsupported-operator', () => {
    expect(() => importNode('BatchNormalization', 7, operands, { spatial: 0 })).toThrow(
      expect.objectContaining({ code: 'unsupported-operator', message: expect.stringContaining('spatial = 0') }),
    )
  })
})

describe('GroupNormalization', () => {
  it('of operator set 18 has a scale and a bias per group', async () => {
    const [data, scale, bias] = [
      filled([1, 4, 2], (i) => (i % 4) ** 2),
      filled([2], (i) => i + 1),
      filled([2], (i) => 10 * i),
    ]
    const [y] = importNode('GroupNormalization', 18, [data, scale, bias], { num_groups: 2 })
    const [elements] = await evaluate(y!)
    const values = [0, 1, 4, 9]
    const std = Math.sqrt(values.reduce((sum, value) => sum + (value - 3.5) ** 2, 0) / 4 + 1e-5)
    elements!.forEach((element, i) => {
      const [group, value] = [Math.floor(i / 4), values[i % 4]!]
      expect(element).toBeCloseTo(((group + 1) * (value - 3.5)) / std + 10 * group, 5)
    })
  })

  it('symbolic channels > are computed when the graph runs', () => {
    const [y] = importNode('GroupNormalization', 18, [x('N', 'C', 4), x(2), x(2)], { num_groups: 2 })
    expect(y!.shape).toEqual(['N', 'C', 4])
  })
})

describe.each(['Softmax', 'LogSoftmax', 'Hardmax'])('%s before operator set 13', (operator) => {
  const operatorsOf = (value: Value): string[] =>
    value.source.kind === 'node'
      ? [...value.source.inputs.flatMap((input) => (input ? operatorsOf(input) : [])), value.source.operator]
      : []

  it('along the last axis > is unchanged', () => {
    expect(operatorsOf(importNode(operator, 11, [x('N', 5)])[0]!)).toEqual([operator])
    expect(operatorsOf(importNode(operator, 11, [x('N', 3, 5)], { axis: -1 })[0]!)).toEqual([operator])
    expect(operatorsOf(importNode(operator, 11, [x('N', 3, 5)], { axis: 2 })[0]!)).toEqual([operator])
    expect(importNode(operator, 11, [x('N', 3, 5)], { axis: 2 })[0]!.source).toMatchObject({ attributes: { axis: 2 } })
  })

  it('other axes > runs over all axes from the given one on', async () => {
    const [flat, whole] = [filled([2, 6], (i) => Math.sin(i)), filled([2, 3, 2], (i) => Math.sin(i))]
    const [expected, given] = await evaluate(
      importNode(operator, 11, [flat])[0]!,
      importNode(operator, 11, [whole])[0]!,
    )
    expect(given).toEqual(expected)
    expect(importNode(operator, 11, [x('N', 3, 2)])[0]!.shape).toEqual(['N', 3, 2])
  })
})

describe('other operators', () => {
  it('Gemm > broadcast attribute > is removed', () => {
    expect(importNode('Gemm', 6, [x('N', 3), x(3, 4), x(4)], { broadcast: 1 })[0]!.shape).toEqual(['N', 4])
  })

  it('LSTM > output_sequence > is removed', () => {
    const [y] = importNode('LSTM', 1, [x('T', 'N', 5), x(1, 32, 5), x(1, 32, 8)], { output_sequence: 1 }, 3)
    expect(y!.shape).toEqual(['T', 1, 'N', 8])
  })
})
