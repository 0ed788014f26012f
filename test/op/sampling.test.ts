import { describe, expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'

const float = (name: string, ...shape: (number | string)[]) => input(name, 'float32', shape)
const x = float('x', 'N', 3, 'H', 'W')

describe('sampling operators > shapes', () => {
  it('GridSample > returns the dims of the grid', () => {
    expect(op.GridSample(x, float('grid', 'N', 'h', 8, 2)).shape).toEqual(['N', 3, 'h', 8])
    expect(op.AffineGrid(float('theta', 'N', 2, 3), op.Shape(x)).shape).toEqual(['N', 'H', 'W', 2])
    expect(op.AffineGrid(float('theta', 'N', 3, 4), input('size', 'int64', ['rank'])).shape).toHaveLength(5)
  })

  it('DeformConv > returns the dims of the convolution', () => {
    const y = op.DeformConv(x, float('w', 8, 3, 3, 3), float('offset', 'N', 18, 'h', 'w'), {
      pads: [1, 1, 1, 1],
      strides: [2, 1],
    })
    expect(y.shape).toEqual(['N', 8, 'floor((H-1)/2)+1', 'W'])
  })

  it('RoiAlign > returns one sample per region', () => {
    const regions = op.RoiAlign(x, float('rois', 'R', 4), input('batch', 'int64', ['R']), {
      output_height: 7,
      output_width: 5,
    })
    expect(regions.shape).toEqual(['R', 3, 7, 5])
    expect(op.MaxRoiPool(x, float('rois', 'R', 5), { pooled_shape: [2, 3] }).shape).toEqual(['R', 3, 2, 3])
  })
})

describe('sampling operators > operands that do not match', () => {
  it.each([
    ['a grid of volumes for images', () => op.GridSample(x, float('grid', 'N', 2, 2, 3))],
    ['a grid of another rank', () => op.GridSample(x, float('grid', 'N', 2, 2))],
    ['an unknown mode', () => op.GridSample(x, float('grid', 'N', 2, 2, 2), { mode: 'bilinear' })],
    ['an unknown padding', () => op.GridSample(x, float('grid', 'N', 2, 2, 2), { padding_mode: 'wrap' })],
    ['theta of volumes for images', () => op.AffineGrid(float('theta', 1, 3, 4), [1, 1, 2, 2])],
    ['weights with one axis too few', () => op.DeformConv(x, float('w', 8, 3, 3), float('offset', 1, 6, 2, 2))],
    ['regions of three numbers', () => op.RoiAlign(x, float('rois', 2, 3), input('batch', 'int64', [2]))],
    ['fewer images than regions', () => op.RoiAlign(x, float('rois', 2, 4), input('batch', 'int64', [3]))],
    [
      'an unknown pooling mode',
      () => op.RoiAlign(x, float('rois', 2, 4), input('batch', 'int64', [2]), { mode: 'sum' }),
    ],
    ['zero bins', () => op.MaxRoiPool(x, float('rois', 2, 5), { pooled_shape: [0, 1] })],
    ['bins along one axis only', () => op.MaxRoiPool(x, float('rois', 2, 5), { pooled_shape: [2] })],
  ])('%s > rejects', (_, build) => {
    expect(build).toThrow(expect.objectContaining({ code: 'invalid-shape' }))
  })
})
