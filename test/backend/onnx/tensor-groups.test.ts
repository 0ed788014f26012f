import { expect, test } from 'vitest'
import { bundleOf, regrouped } from '../../../src/backend/onnx/layout.js'

const big = 2 ** 18 + 1
const single = (id: number, name: string, length: number) => bundleOf(id, [[name, [length]]])
const keys = (key: Readonly<Record<string, string>>) => (name: string) => key[name]

test('small tensors of one key are joined when they are first trained, large ones stay alone', () => {
  const bundles = [single(1, 'a', 4), single(2, 'b', 3), single(3, 'w', big), single(4, 'c', 5), single(5, 'frozen', 2)]
  const keyOf = keys({ a: 'p', b: 'q', c: 'p', w: 'p' })
  expect(regrouped(bundles, keyOf, () => true)).toEqual([['a', 'c'], ['b'], ['w'], ['frozen']])
  expect(regrouped(bundles, keyOf, () => false)).toBeUndefined()
})

test('a bundle whose keys part is parted, and stays so', () => {
  const joined = bundleOf(1, [
    ['a', [2, 2]],
    ['b', []],
    ['c', [3]],
  ])
  expect(joined.parts.map(({ from, length }) => [from, length])).toEqual([
    [0, 4],
    [4, 1],
    [5, 3],
  ])
  expect(joined).toMatchObject({ dims: [8], length: 8 })
  expect(regrouped([joined], keys({ a: 'p', b: 'p', c: 'p' }), () => true)).toBeUndefined()
  expect(regrouped([joined], keys({ a: 'p', b: 'q', c: 'p' }), () => false)).toEqual([['a', 'c'], ['b']])
  expect(regrouped([joined], keys({ a: 'p', c: 'p' }), () => false)).toEqual([['a', 'c'], ['b']])
  const parted = [single(2, 'a', 4), single(3, 'b', 1)]
  expect(regrouped(parted, keys({ a: 'p', b: 'p' }), () => false)).toBeUndefined()
})

test('a bundle does not outgrow what a device can bind', () => {
  const bundles = Array.from({ length: 40 }, (_, i) => single(i, `t${i}`, 2 ** 18))
  const groups = regrouped(
    bundles,
    () => 'p',
    () => true,
  )!
  expect(groups.map(({ length }) => length)).toEqual([16, 16, 8])
  expect(groups.flat().sort()).toEqual(bundles.map(({ parts }) => parts[0]!.name).sort())
})
