import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import type { DType } from '../../src/ir/dtype.js'
import { input } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import { op } from '../../src/op/op.js'

const x = (name: string, dtype: DType, ...shape: Shape) => input(name, dtype, shape)
const scale = x('scale', 'float32')
const [byte, signed] = [x('zero', 'uint8'), x('zero', 'int8')]

describe('quantized operators', () => {
  it('QuantizeLinear > returns the type of the zero point, output_dtype or uint8', () => {
    const data = x('x', 'float32', 'N', 3)
    expect(op.QuantizeLinear(data, scale, signed)).toMatchObject({ dtype: 'int8', shape: ['N', 3] })
    expect(op.QuantizeLinear(data, scale, { output_dtype: 5 })).toMatchObject({ dtype: 'int16' })
    expect(op.QuantizeLinear(data, scale)).toMatchObject({ dtype: 'uint8' })
    expect(op.DynamicQuantizeLinear(data)).toMatchObject([
      { dtype: 'uint8', shape: ['N', 3] },
      { dtype: 'float32', shape: [] },
      { dtype: 'uint8', shape: [] },
    ])
  })

  it('DequantizeLinear > returns the type of the scale', () => {
    expect(op.DequantizeLinear(x('x', 'int8', 2), x('scale', 'float16'))).toMatchObject({
      dtype: 'float16',
      shape: [2],
    })
  })

  it('convolutions and products > return the shapes of the float operators', () => {
    const [image, kernel] = [x('x', 'uint8', 'N', 3, 8, 8), x('w', 'int8', 16, 3, 3, 3)]
    expect(op.ConvInteger(image, kernel, { strides: [2, 2] })).toMatchObject({ dtype: 'int32', shape: ['N', 16, 3, 3] })
    expect(op.QLinearConv(image, scale, byte, kernel, scale, signed, scale, byte)).toMatchObject({
      dtype: 'uint8',
      shape: ['N', 16, 6, 6],
    })
    const [a, b] = [x('a', 'uint8', 'N', 4), x('b', 'int8', 4, 5)]
    expect(op.MatMulInteger(a, b)).toMatchObject({ dtype: 'int32', shape: ['N', 5] })
    expect(op.QLinearMatMul(a, scale, byte, b, scale, signed, scale, signed)).toMatchObject({
      dtype: 'int8',
      shape: ['N', 5],
    })
  })

  it('import of a quantized model > warns once, with the operators, and recommends the float model', () => {
    const [data, weight] = [x('data', 'float32', 2, 4), x('w', 'int8', 4, 4)]
    const quantized = op.QuantizeLinear(data, scale, signed)
    const once = op.QLinearMatMul(quantized, scale, signed, weight, scale, signed, scale, signed)
    const twice = op.MatMulInteger(once, weight)
    const y = op.Mul(op.Cast(twice, { to: 1 }), scale)
    const dy = x('dy', 'float32', 2, 4)
    let message = ''
    try {
      gradients([[y, dy]], [data])
    } catch (error) {
      expect(error).toMatchObject({ code: 'not-differentiable' })
      message = (error as Error).message
    }
    expect(message).toMatch(/^2 operators/)
    expect(message).toMatch(/MatMulInteger \(.*\),\n {2}QLinearMatMul \(.*\): it computes with integers/)
    expect(message.match(/fine-tune the float model/g)).toHaveLength(1)
  })
})
