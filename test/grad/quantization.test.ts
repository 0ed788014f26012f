import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { constant, parameter, tensorFrom } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import { evaluate, vector } from './evaluate.js'

const float = (value: number): Value => parameter('scale', tensorFrom('float32', [], [value]))
const rounded = (x: Value, scale: Value, zeroPoint: Value | null = null): Value =>
  op.DequantizeLinear(op.QuantizeLinear(x, scale, zeroPoint), scale, zeroPoint)

describe('the straight-through estimator', () => {
  const x = vector('x', -0.06, -0.04, 0.31, 0.96, 25.54, 25.56, 30)
  const dy = vector('dy', 1, 2, 3, 4, 5, 6, 7)

  it('gradient of x > passes inside the representable range and is zero outside', async () => {
    const [dx] = gradients([[rounded(x, float(0.1)), dy]], [x])
    expect(await evaluate(dx!)).toEqual([[0, 2, 3, 4, 5, 0, 0]])
  })

  it('range > follows from the type and the zero point', async () => {
    const zero = constant(tensorFrom('int8', [], [10]))
    const values = vector('x', -13.9, -13.8, 0, 11.7, 11.8)
    const ones = vector('dy', 1, 1, 1, 1, 1)
    const [dx] = gradients([[rounded(values, float(0.1), zero), ones]], [values])
    expect(await evaluate(dx!)).toEqual([[0, 1, 1, 1, 0]])
  })

  it('QuantizeLinear and DequantizeLinear > scale gradient is that of learned step size quantization', async () => {
    const scale = float(0.1)
    const [ds] = gradients([[rounded(x, scale), dy]], [scale])
    // round(x / s) - x / s within the range, the bound beyond it.
    const terms = [0, 0.4, -0.1, 0.4, 255 - 255.4, 255, 255]
    const expected = terms.reduce((sum, term, i) => sum + term * (i + 1), 0)
    const [[measured]] = (await evaluate(ds!)) as [[number]]
    expect(measured).toBeCloseTo(expected, 2)
  })

  it('gradient > passes operators that move or cast quantized integers', async () => {
    const scale = float(0.1)
    const moved = op.Concat([op.Slice(op.QuantizeLinear(x, scale), [2], [4], [0]), op.QuantizeLinear(x, scale)], {
      axis: 0,
    })
    const y = op.ReduceSum(op.Mul(op.Cast(moved, { to: 1 }), scale), null, { keepdims: 0 })
    const [dx] = gradients([[y, parameter('one', tensorFrom('float32', [], [1]))]], [x])
    const [values] = await evaluate(dx!)
    expect(values!.map((value) => Math.round(value * 1e6) / 1e6)).toEqual([0, 1, 2, 2, 1, 0, 0])
  })

  it('lengths and indices > have no gradient', () => {
    const y = op.Mul(op.CastLike(op.Size(op.QuantizeLinear(x, float(0.1))), x), 1)
    expect(gradients([[y, y]], [x])).toEqual([null])
  })
})

describe('matrix products with 4-bit and 8-bit weights', () => {
  it('gradient > leaves the weights packed', () => {
    const b = constant(tensor('uint8', [3, 2, 8], new Uint8Array(48).fill(0x5a)))
    const scales = constant(tensorFrom('float32', [6], [1, 2, 3, 4, 5, 6]))
    const a = parameter(
      'a',
      tensorFrom(
        'float32',
        [2, 32],
        Array.from({ length: 64 }, (_, i) => i),
      ),
    )
    const y = op.MatMulNBits(a, b, scales, { K: 32, N: 3, block_size: 16 })
    const [da] = gradients([[y, y]], [a])
    const dtypes: string[] = []
    const visit = ({ source }: Value): void => {
      if (source.kind === 'node') for (const x of source.inputs) if (x) visit(x)
      if (source.kind === 'constant' && source.tensor.dims.length > 1) dtypes.push(source.tensor.dtype)
    }
    visit(da!)
    expect(dtypes.toSorted()).toEqual(['uint4', 'uint4', 'uint8'])
  })

  it('has no gradient with an order of columns', () => {
    const b = constant(tensor('uint8', [3, 2, 8], new Uint8Array(48)))
    const scales = constant(tensorFrom('float32', [6], [1, 2, 3, 4, 5, 6]))
    const order = constant(tensorFrom('int32', [32], new Int32Array(32)))
    const a = parameter('a', tensorFrom('float32', [1, 32], new Float32Array(32).fill(1)))
    const y = op.MatMulNBits(a, b, scales, null, order, { K: 32, N: 3, block_size: 16 })
    expect(() => gradients([[y, y]], [a])).toThrow(
      expect.objectContaining({ code: 'not-differentiable', message: expect.stringMatching(/g_idx/) }),
    )
  })

  it('attributes that do not describe the weight > are rejected', () => {
    const b = constant(tensor('uint8', [3, 2, 8], new Uint8Array(48)))
    const scales = constant(tensorFrom('float32', [6], [1, 2, 3, 4, 5, 6]))
    const a = vector('a', ...Array.from({ length: 32 }, () => 1))
    for (const attributes of [
      { K: 32, N: 3, block_size: 0 },
      { K: 32, N: -1, block_size: 16 },
      { K: 64, N: 3, block_size: 16 },
      { K: 32, N: 3, block_size: 16, bits: 3 },
    ])
      expect(() => op.MatMulNBits(a, b, scales, attributes)).toThrow(
        expect.objectContaining({ message: expect.stringContaining('MatMulNBits') }),
      )
  })
})
