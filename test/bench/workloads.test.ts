import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { findTrainable } from '../../src/train/model/trainable.js'
import { Random } from '../../src/util/random.js'
import { workloads } from '../../tools/bench/workloads.js'

/** Numbers of trained elements of torchvision's models. */
test.each([
  ['resnet50', 25_557_032],
  ['mobilenet', 3_504_872],
  ['densenet', 7_978_856],
])('%s has %d parameters', (name, count) => {
  const sizes = [...findTrainable(workloads[name]!.graph(), 'weights').values()].map(({ shape }) =>
    shape!.reduce<number>((a, b) => a * Number(b), 1),
  )
  expect(sizes.reduce((a, b) => a + b, 0)).toBe(count)
})

test.each(['torch_models.py', 'jax_models.py'])('%s has every model', (file) => {
  const text = readFileSync(new URL(`../../tools/bench/peers/${file}`, import.meta.url), 'utf8')
  const listed = new Set([...text.matchAll(/^ {4}"([\w-]+)": /gm)].map(([, name]) => name))
  expect([...new Set(Object.values(workloads).map(({ model }) => model))].filter((name) => !listed.has(name))).toEqual(
    [],
  )
})

test('a workload is named by its model, and by its batch if that is not the usual one', () => {
  expect(workloads['mlp']!.batch).toBe(128)
  const { batch, model, sample } = workloads['mlp-b1024']!
  expect([batch, model]).toEqual([1024, 'mlp'])
  expect(sample(new Random(1))['x']!.dims).toEqual([1024, 784])
})
