import { expect, test } from 'vitest'
import { input, modelOf, op } from '../../../src/graph/index.js'
import { addUsage, decodeModel, encodeModel, type Model, readUsage } from '../../../src/index.js'

function model(...names: string[]): Model {
  const inputs = new Map(names.map((name) => [name, input(name, 'float32', ['N', 3])]))
  const y = [...inputs.values()].reduce((a, b) => op.Add(a, b))
  return modelOf({ name: 'm', inputs, outputs: new Map([['y', op.Relu(y)]]), metadata: { author: 'someone' } })
}
const saved = (each: Model) => decodeModel(encodeModel(each))
const usage = {
  task: 'image-classification',
  classes: ['cat', 'dog'],
  image: { size: [32, 48], mean: [0.5, 0.4, 0.3] },
} as const

test('usage > is in the file, beside other metadata, and replaces earlier usage', () => {
  const first = saved(addUsage(model('x'), { classes: ['a'] }))
  expect(readUsage(first)).toEqual({ classes: ['a'] })
  const second = saved(addUsage(first, usage))
  expect(readUsage(second)).toEqual(usage)
  expect(second.proto.metadataProps.map(({ key }) => key)).toEqual([
    'author',
    'onnx-ire.task',
    'onnx-ire.classes',
    'onnx-ire.image',
  ])
  expect(encodeModel(addUsage(second, {}))).toEqual(encodeModel(model('x')))
})

test('a model without usage > is not changed, and has none', () => {
  const plain = model('x')
  expect(addUsage(plain, {})).toBe(plain)
  expect(readUsage(plain)).toEqual({})
})

test.each([
  ['a number for a name', 'task', '3'],
  ['damaged JSON', 'classes', '["cat"'],
  ['numbers for names', 'classes', '[1, 2]'],
  ['a list for options', 'image', '[32]'],
  ['another pooling', 'pooling', '"max"'],
])('%s > invalid-model that names the field', (_, field, value) => {
  const { proto } = model('x')
  const metadataProps = [{ key: `onnx-ire.${field}`, value }] as unknown as typeof proto.metadataProps
  expect(() => readUsage({ proto: { ...proto, metadataProps }, external: null })).toThrow(
    expect.objectContaining({ code: 'invalid-model', message: expect.stringContaining(`onnx-ire.${field}`) }),
  )
})

test('images of a model with two inputs > invalid-model', () => {
  expect(() => readUsage(addUsage(model('a', 'b'), usage))).toThrow(expect.objectContaining({ code: 'invalid-model' }))
})
