import { describe, expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'

const float = (...shape: (number | string)[]) => input('x', 'float32', shape)
const places = (...shape: (number | string)[]) => input('indices', 'int64', shape)

describe('Col2Im', () => {
  it('rows of several channels > are divided into channels', () => {
    expect(op.Col2Im(float('N', 12, 'L'), [4, 5], [2, 2]).shape).toEqual(['N', 3, 4, 5])
    expect(op.Col2Im(float('N', 'C', 9), [4, 4], [2, 2]).shape).toEqual(['N', 'floor(C/4)', 4, 4])
  })

  it('rows that are not a multiple of the block size > rejects', () => {
    expect(() => op.Col2Im(float(1, 10, 9), [4, 4], [2, 2])).toThrow('no whole number of blocks')
    expect(() => op.Col2Im(float(1, 8, 3, 3), [4, 4], [2, 2])).toThrow(
      expect.objectContaining({ code: 'invalid-shape' }),
    )
  })
})

describe('MaxUnpool', () => {
  it('no output shape > returns the shortest axis that MaxPool would reduce to this length', () => {
    const attributes = { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 1, 0] }
    expect(op.MaxUnpool(float('N', 3, 4, 5), places('N', 3, 4, 5), attributes).shape).toEqual(['N', 3, 7, 10])
    expect(
      op.MaxUnpool(float('N', 3, 'H', 'W'), places('N', 3, 'H', 'W'), { kernel_shape: [2, 2], strides: [2, 2] }).shape,
    ).toEqual(['N', 3, 'H*2', 'W*2'])
  })

  it('an output shape > returns that shape', () => {
    expect(op.MaxUnpool(float(1, 1, 2), places(1, 1, 2), [1, 1, 9], { kernel_shape: [2] }).shape).toEqual([1, 1, 9])
  })

  it('a kernel of another rank > rejects', () => {
    expect(() => op.MaxUnpool(float(1, 1, 2, 2), places(1, 1, 2, 2), { kernel_shape: [2] })).toThrow(
      expect.objectContaining({ code: 'invalid-shape' }),
    )
  })
})
