import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { constant, input, int64s, tensorFrom } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'

const x = input('x', 'float32', ['N', 3, 'H', 'W'])
const scales = (...values: number[]) => constant(tensorFrom('float32', [values.length], values))

describe('Resize', () => {
  it('symbolic dims > returns expressions', () => {
    expect(op.Resize(x, null, scales(1, 1, 2, 0.5)).shape).toEqual(['N', 3, 'H*2', 'floor(W/2)'])
    expect(op.Resize(x, null, null, int64s([32, 64]), { axes: [2, 3] }).shape).toEqual(['N', 3, 32, 64])
  })

  it('an empty tensor for an optional input > counts as absent', () => {
    expect(op.Resize(x, null, scales(), int64s([1, 3, 8, 9])).shape).toEqual([1, 3, 8, 9])
  })

  it('contradictory operands > rejects', () => {
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

  it('a region > needs a start and an end for every axis', () => {
    const crop = { coordinate_transformation_mode: 'tf_crop_and_resize', axes: [2, 3] }
    const roi = scales(0, 0, 1, 1)
    expect(op.Resize(x, roi, null, int64s([8, 9]), crop).shape).toEqual(['N', 3, 8, 9])
    expect(() => op.Resize(x, scales(0, 1), null, int64s([8, 9]), crop)).toThrow(
      expect.objectContaining({ code: 'invalid-shape', message: expect.stringMatching(/2 elements of roi .* 2 axes/) }),
    )
  })

  // 1/6 as a float32 times 3 is above a half.
  it('a kept aspect ratio > dims are rounded in float32', () => {
    const [a, attributes] = [input('a', 'float32', [6, 3]), { keep_aspect_ratio_policy: 'not_larger' }]
    expect(op.Resize(a, null, null, int64s([1, 3]), attributes).shape).toEqual([1, 1])
  })

  it('gradient > rejects forms that onnxruntime resizes differently, and unknown ranks', () => {
    const attributes = { mode: 'linear', antialias: 1, coordinate_transformation_mode: 'tf_crop_and_resize' }
    const image = input('image', 'float32', [1, 6, 5, 3])
    const sizes = int64s([1, 3, 2, 3])
    const beyond = op.Resize(image, scales(0, -0.1, 0, 0, 1, 1, 1, 1), null, sizes, attributes)
    const dy = input('dy', 'float32', beyond.shape)
    expect(() => gradients([[beyond, dy]], [image])).toThrow(
      expect.objectContaining({ code: 'not-differentiable', message: expect.stringMatching(/channels last/) }),
    )
    const within = op.Resize(image, scales(0, 0.1, 0, 0, 1, 0.9, 1, 1), null, sizes, attributes)
    expect(gradients([[within, dy]], [image])[0]?.shape).toEqual([1, 6, 5, 3])
    const any = input('any', 'float32', undefined)
    const y = op.Resize(any, null, scales(1, 2))
    expect(() => gradients([[y, y]], [any])).toThrow(
      expect.objectContaining({ code: 'not-differentiable', message: expect.stringMatching(/Resize: /) }),
    )
  })
})
