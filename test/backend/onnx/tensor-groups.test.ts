import { expect, test } from 'vitest'
import { createGroup, regroup } from '../../../src/backend/onnx/tensor-groups.js'

const big = 2 ** 18 + 1
const single = (id: number, name: string, length: number) => createGroup(id, [[name, [length]]])
const keys = (key: Readonly<Record<string, string>>) => (name: string) => key[name]

test('regroup > new small tensors of one key > are joined; large tensors stay in separate groups', () => {
  const groups = [single(1, 'a', 4), single(2, 'b', 3), single(3, 'w', big), single(4, 'c', 5), single(5, 'frozen', 2)]
  const keyOf = keys({ a: 'p', b: 'q', c: 'p', w: 'p' })
  expect(regroup(groups, keyOf, () => true)).toEqual([['a', 'c'], ['b'], ['w'], ['frozen']])
  expect(regroup(groups, keyOf, () => false)).toBeUndefined()
})

test('regroup > a group with several keys > is split, and is not joined again', () => {
  const joined = createGroup(1, [
    ['a', [2, 2]],
    ['b', []],
    ['c', [3]],
  ])
  expect(joined.parts.map(({ offset, length }) => [offset, length])).toEqual([
    [0, 4],
    [4, 1],
    [5, 3],
  ])
  expect(joined).toMatchObject({ dims: [8], length: 8 })
  expect(regroup([joined], keys({ a: 'p', b: 'p', c: 'p' }), () => true)).toBeUndefined()
  expect(regroup([joined], keys({ a: 'p', b: 'q', c: 'p' }), () => false)).toEqual([['a', 'c'], ['b']])
  expect(regroup([joined], keys({ a: 'p', c: 'p' }), () => false)).toEqual([['a', 'c'], ['b']])
  const parted = [single(2, 'a', 4), single(3, 'b', 1)]
  expect(regroup(parted, keys({ a: 'p', b: 'p' }), () => false)).toBeUndefined()
})

test('regroup > many small tensors > no group exceeds the buffer limit', () => {
  const groups = Array.from({ length: 40 }, (_, i) => single(i, `t${i}`, 2 ** 18))
  const regrouped = regroup(
    groups,
    () => 'p',
    () => true,
  )!
  expect(regrouped.map(({ length }) => length)).toEqual([16, 16, 8])
  expect(regrouped.flat().sort()).toEqual(groups.map(({ parts }) => parts[0]!.name).sort())
})
