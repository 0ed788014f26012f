import { expect, it } from 'vitest'
import { constant, tensorFrom } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'
import { evaluate } from '../grad/evaluate.js'

const [float32, float64, int32] = [1, 11, 6]
const ones = constant(tensorFrom('float32', [2], [1, -2]))

it('BitCast reads the bits of a tensor as another type of the same width', async () => {
  const bits = op.BitCast(ones, { to: int32 })
  expect(bits).toMatchObject({ dtype: 'int32', shape: [2] })
  expect(await evaluate(bits, op.BitCast(bits, { to: float32 }))).toEqual([
    [0x3f800000, 0xc0000000 - 2 ** 32],
    [1, -2],
  ])
  expect(() => op.BitCast(ones, { to: float64 })).toThrow('differ in their number of bits')
})
