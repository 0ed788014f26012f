import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { constant, input, int64s, tensorFrom } from '../../src/ir/leaf.js'
import { op } from '../../src/op/index.js'

const x = input('x', 'float32', ['N', 3, 'H', 'W'])
const scales = (...values: number[]) => constant(tensorFrom('float32', [values.length], values))

describe('shapes of Resize', () => {
  it('follows symbolic lengths', () => {
    expect(op.Resize(x, null, scales(1, 1, 2, 0.5)).shape).toEqual(['N', 3, 'H*2', 'floor(W/2)'])
    expect(op.Resize(x, null, null, int64s([32, 64]), { axes: [2, 3] }).shape).toEqual(['N', 3, 32, 64])
  })

  it('takes an empty tensor for one that is absent', () => {
    expect(op.Resize(x, null, scales(), int64s([1, 3, 8, 9])).shape).toEqual([1, 3, 8, 9])
  })

  it('refuses what does not go together', () => {
    expect(() => op.Resize(x)).toThrow(
      expect.objectContaining({ code: 'invalid-model', message: expect.stringMatching(/either scales or sizes/) }),
    )
    expect(() => op.Resize(x, null, scales(2, 2))).toThrow(
      expect.objectContaining({ code: 'invalid-shape', message: expect.stringMatching(/2 scales for 4 axes/) }),
    )
    expect(() => op.Resize(x, null, scales(1, 1, 0, 1))).toThrow(/need to be positive/)
    expect(() => op.Resize(x, null, scales(1, 1, 2, 2), { mode: 'lanczos' })).toThrow(
      expect.objectContaining({ code: 'unsupported-operator' }),
    )
  })

  it('says which forms have no gradient', () => {
    const y = op.Resize(x, null, scales(1, 1, 0.5, 0.5), null, { mode: 'linear', antialias: 1 })
    const dy = input('dy', 'float32', y.shape)
    expect(() => gradients([[y, dy]], [x])).toThrow(
      expect.objectContaining({ code: 'not-differentiable', message: expect.stringMatching(/antialias/) }),
    )
  })
})
