import { describe, expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'

const x = input('x', 'float32', ['N', 3, 'H', 'W'])
const weights = (...shape: number[]) => input('w', 'float32', shape)

describe('convolutions > symbolic dims', () => {
  it('pads that compensate for the kernel > the dim is unchanged', () => {
    expect(op.Conv(x, weights(8, 3, 3, 3), { pads: [1, 1, 1, 1] }).shape).toEqual(['N', 8, 'H', 'W'])
    expect(op.Conv(x, weights(8, 3, 3, 5), { auto_pad: 'SAME_UPPER' }).shape).toEqual(['N', 8, 'H', 'W'])
    expect(op.Conv(x, weights(8, 3, 1, 1)).shape).toEqual(['N', 8, 'H', 'W'])
  })

  it('strided windows > the dim is an expression', () => {
    expect(op.Conv(x, weights(8, 3, 3, 2)).shape).toEqual(['N', 8, 'H-2', 'W-1'])
    expect(op.Conv(x, weights(8, 3, 3, 7), { strides: [2, 2], pads: [1, 3, 1, 3] }).shape).toEqual([
      'N',
      8,
      'floor((H-1)/2)+1',
      'floor((W-1)/2)+1',
    ])
    expect(op.Conv(x, weights(8, 3, 2, 2), { strides: [2, 2], auto_pad: 'SAME_LOWER' }).shape).toEqual([
      'N',
      8,
      'ceil(H/2)',
      'ceil(W/2)',
    ])
  })

  it('transposed convolution > the dims double', () => {
    expect(op.ConvTranspose(x, weights(3, 5, 2, 2), { strides: [2, 2] }).shape).toEqual(['N', 5, 'H*2', 'W*2'])
    expect(op.ConvTranspose(x, weights(3, 5, 4, 3), { strides: [2, 2], pads: [1, 1, 1, 1] }).shape).toEqual([
      'N',
      5,
      'H*2',
      'W*2-1',
    ])
  })

  it('data of unknown rank > only the channels are known', () => {
    const anything = input('anything', 'float32', undefined)
    expect(op.Conv(anything, weights(8, 3, 3, 3)).shape).toHaveLength(4)
    expect(op.MaxPool(anything, { kernel_shape: [2, 2] })[0].shape).toBeUndefined()
  })
})

describe('convolutions > contradictory operands', () => {
  it.each([
    ['channels', () => op.Conv(x, weights(8, 4, 3, 3)), /for 4 channels, not 3/],
    ['group', () => op.Conv(x, weights(8, 1, 3, 3), { group: 3 }), /group 3 does not divide 8/],
    ['rank', () => op.Conv(x, weights(8, 3, 3)), /equal rank/],
    ['kernel_shape', () => op.Conv(x, weights(8, 3, 3, 3), { kernel_shape: [3, 5] }), /lengths 3 and 5 differ/],
    ['strides', () => op.Conv(x, weights(8, 3, 3, 3), { strides: [0, 1] }), /strides \[0, 1\]/],
    ['pads', () => op.Conv(x, weights(8, 3, 3, 3), { pads: [1, 1] }), /pads \[1, 1\]/],
    ['auto_pad', () => op.Conv(x, weights(8, 3, 3, 3), { auto_pad: 'same' }), /auto_pad 'same'/],
    ['bias', () => op.Conv(x, weights(8, 3, 3, 3), input('b', 'float32', [7])), /the bias needs the shape \[8\]/],
    [
      'window',
      () => op.Conv(input('s', 'float32', [1, 3, 2, 9]), weights(8, 3, 3, 3)),
      /1 longer than the padded axis/,
    ],
    ['pool', () => op.MaxPool(x, { kernel_shape: [2] }), /kernel of 1 axes/],
    ['pool window', () => op.AveragePool(input('s', 'float32', [1, 3, 2, 9]), { kernel_shape: [4, 4] }), /2 longer/],
  ])('%s > rejects', (_, build, message) => {
    expect(build).toThrow(expect.objectContaining({ code: 'invalid-shape', message: expect.stringMatching(message) }))
  })
})

describe('convolutions > SAME pads that onnxruntime computes otherwise than ONNX defines them', () => {
  const line = input('line', 'float32', [1, 1, 8])
  const kernel = (length: number) => input('k', 'float32', [1, 1, length])
  const transposed = (length: number, attributes: Parameters<typeof op.ConvTranspose>[3]) =>
    op.ConvTranspose(line, kernel(length), null, { auto_pad: 'SAME_UPPER', ...attributes })
  const pool = { kernel_shape: [3], auto_pad: 'SAME_LOWER', dilations: [2] }

  it.each([
    ['ConvTranspose', () => transposed(2, { strides: [3] }), /a stride of 3 .* extent of 2.* output_padding/],
    ['MaxPool', () => op.MaxPool(line, pool), /dilations \[2\].* explicit pads/],
    ['AveragePool', () => op.AveragePool(line, pool), /dilations/],
    ['LpPool', () => op.LpPool(line, pool), /dilations/],
    ['a pool of unknown rank', () => op.LpPool(input('any', 'float32', undefined), pool), /dilations/],
  ])('%s > rejects, with what to do', (_, build, message) => {
    expect(build).toThrow(
      expect.objectContaining({ code: 'unsupported-operator', message: expect.stringMatching(message) }),
    )
  })

  it('forms that both compute alike > are accepted', () => {
    expect(transposed(2, { strides: [2] }).shape).toEqual([1, 1, 16])
    expect(transposed(2, { strides: [3], dilations: [2] }).shape).toEqual([1, 1, 24])
    expect(transposed(1, { strides: [2], output_padding: [1] }).shape).toEqual([1, 1, 16])
    expect(transposed(1, { strides: [2], output_shape: [16] }).shape).toEqual([1, 1, 16])
    expect(op.LpPool(line, { ...pool, kernel_shape: [1] }).shape).toEqual([1, 1, 8])
    expect(op.LpPool(line, { ...pool, dilations: [1] }).shape).toEqual([1, 1, 8])
    expect(op.LpPool(line, { ...pool, auto_pad: 'NOTSET', pads: [2, 2] }).shape).toEqual([1, 1, 8])
  })
})
