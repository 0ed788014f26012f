import { expect, it } from 'vitest'
import { input, modelOf, op, parameter } from '../../../src/graph/index.js'
import { namedTensors } from '../../../src/index.js'
import { numbersOf, tensorFrom } from '../../../src/ir/leaf.js'
import { replaceWeights } from '../../../src/train/model/replace-weights.js'
import { thrownMessage } from '../../thrown.js'

it.each([
  ['float16', 65519, 65504, 65520],
  ['bfloat16', 3.39e38, 2 ** 128 - 2 ** 120, 3.397e38],
] as const)('a weight beyond %s > not-finite with the tensor', (dtype, large, rounded, larger) => {
  const x = input('x', dtype, ['N', 1])
  const y = op.MatMul(x, parameter('fc.weight', tensorFrom(dtype, [1, 2], [0, 0])))
  const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
  const replace = (value: number) => replaceWeights(model, { 'fc.weight': Float32Array.of(1, value) })
  expect(numbersOf(namedTensors(replace(large)).get('fc.weight')!)).toEqual([1, rounded])
  expect(numbersOf(namedTensors(replace(Infinity)).get('fc.weight')!)).toEqual([1, Infinity])
  for (const value of [larger, -larger])
    expect(thrownMessage('not-finite', () => replace(value))).toMatch(new RegExp(`'fc.weight'.*${dtype}`))
})
