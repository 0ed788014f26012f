import { describe, expect, it } from 'vitest'
import type { DType } from '../../src/ir/dtype.js'
import { constant, constantTensor, input, int64s, numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import type { Dim } from '../../src/ir/shape.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'

const shapeOf = (...shape: readonly Dim[]) => op.Shape(input('x', 'float32', shape))
const floats = (...values: number[]) => constant(tensorFrom('float32', [values.length], values))
const folded = (value: Value) => {
  const tensor = constantTensor(value)
  return tensor && { dims: tensor.dims, values: numbersOf(tensor) }
}
const int64 = 7
const float32 = 1

describe('contents of integer tensors > arithmetic folds into constants', () => {
  it.each<[string, Value, number[]]>([
    ['Div truncates toward zero', op.Div(int64s([7, -7, 7, -7]), int64s([2, 2, -2, -2])), [3, -3, -3, 3]],
    ['Mod has the sign of the divisor', op.Mod(int64s([7, -7, 7, -7]), int64s([3, 3, -3, -3])), [1, 2, -2, -1]],
    ['fmod has the sign of the dividend', op.Mod(int64s([7, -7]), int64s([3, 3]), { fmod: 1 }), [1, -1]],
    ['Min and Max', op.Max([op.Min([int64s([1, 5]), int64s([3, 3])]), int64s([2])]), [2, 3]],
    ['Clip', op.Clip(int64s([-3, 4, 9]), 0, 5), [0, 4, 5]],
    ['Sum', op.Sum([int64s([1, 2]), int64s([10]), int64s([100, 200])]), [111, 212]],
    ['Abs, Neg, Sign', op.Sign(op.Neg(op.Abs(int64s([-3, 0])))), [-1, 0]],
    ['ReduceProd', op.ReduceProd(int64s([2, 3, 4])), [24]],
    ['ReduceMax', op.ReduceMax(int64s([2, 7, 4])), [7]],
    ['Less', op.Less(int64s([1, 2, 3]), int64s([2])), [1, 0, 0]],
    ['Or, And, Xor, Not', bits((a, b) => op.Xor(op.Or(a, b), op.Not(op.And(a, b)))), [1, 0, 0, 1]],
    ['Cast', op.Cast(floats(2.9, -2.9), { to: int64 }), [2, -2]],
    ['Round to even', op.Cast(op.Round(floats(0.5, 1.5, 2.5, -0.5, 2.4)), { to: int64 }), [0, 2, 2, 0, 2]],
  ])('%s', (_, value, values) => {
    expect(folded(value)?.values.map((x) => x + 0)).toEqual(values)
  })

  function bits(build: (a: Value, b: Value) => Value): Value {
    const bools = (...values: number[]) => constant(tensorFrom('bool', [4], values))
    return build(bools(0, 0, 1, 1), bools(0, 1, 0, 1))
  }

  it('broadcasts operands of several axes', () => {
    const column = constant(tensorFrom('int64', [2, 1], [10, 20]))
    expect(folded(op.Add(column, int64s([1, 2, 3])))).toEqual({ dims: [2, 3], values: [11, 12, 13, 21, 22, 23] })
  })

  it('the largest int64 > is exact', () => {
    const largest = constant({ dtype: 'int64', dims: [1], data: BigInt64Array.of(2n ** 63n - 1n) })
    for (const value of [op.Identity(largest), op.Cast(largest, { to: int64 })]) {
      expect(constantTensor(value)?.data).toEqual(BigInt64Array.of(2n ** 63n - 1n))
    }
  })

  const int64Of = (...values: bigint[]) =>
    constant({ dtype: 'int64', dims: [values.length], data: BigInt64Array.from(values) })
  const typed = (dtype: DType, ...values: number[]) => constant(tensorFrom(dtype, [values.length], values))

  it('zero times a negative number > is 0, not -0', () => {
    for (const value of [op.Div(int64s([-1]), int64s([2])), op.Cast(floats(-0.5), { to: int64 })])
      expect(op.Cast(value, { to: float32 }).contents).toEqual([0])
  })

  it('Slice to the smallest integers > covers the whole axis', () => {
    const flipped = op.Slice(
      input('x', 'float32', [5]),
      int64s([-1]),
      int64Of(-(2n ** 63n) + 1n),
      int64s([0]),
      int64s([-1]),
    )
    expect(flipped.shape).toEqual([5])
  })

  it.each<[string, Value]>([
    ['a product that overflows int32', op.Mul(typed('int32', 65536), typed('int32', 65536))],
    ['a sum that overflows int32', op.ReduceSum(typed('int32', 2 ** 31 - 1, 1))],
    ['a result that overflows uint8', op.Cast(op.Add(typed('uint8', 200), typed('uint8', 100)), { to: int64 })],
    ['integers that are not exact as JavaScript numbers', op.Unsqueeze(int64Of(2n ** 53n + 1n), [0])],
    ['arithmetic on inexact integers', op.Mod(int64Of(2n ** 53n + 1n), int64s([10]))],
    ['comparisons of inexact integers', op.Equal(int64Of(2n ** 53n + 1n), int64Of(2n ** 53n))],
    ['a result outside the exact integers', op.Add(int64Of(2n ** 63n - 1n), int64s([-1]))],
    ['a Range whose steps are rounded', op.Cast(op.Range(0, typed('float32', 1), 0.1), { to: int64 })],
    ['division by zero', op.Div(int64s([1]), int64s([0]))],
    ['Mod by zero', op.Mod(int64s([1]), int64s([0]))],
    ['a value outside the range of its type', op.Cast(floats(Number.NaN, Number.POSITIVE_INFINITY), { to: int64 })],
    [
      'a product that is too long',
      op.Mul(constant(tensorFrom('int64', [40, 1], Array(40).fill(1))), int64s(Array(40).fill(1))),
    ],
  ])('%s > is not folded', (_, value) => {
    expect(value.source.kind).toBe('node')
  })
})

describe('contents of integer tensors > symbolic dims', () => {
  it('resizing arithmetic of exporters, in floating point and back > is folded', () => {
    const scaled = op.Mul(op.Cast(shapeOf('H', 8), { to: float32 }), floats(2, 0.5))
    expect(op.Cast(scaled, { to: int64 }).contents).toEqual(['H*2', 4])
    const halved = op.Div(op.Cast(shapeOf('H', 9), { to: float32 }), floats(2, 2))
    expect(op.Cast(op.Floor(halved), { to: int64 }).contents).toEqual(['floor(H*0.5)', 4])
    expect(op.Cast(op.Ceil(halved), { to: int64 }).contents).toEqual(['ceil(H*0.5)', 5])
  })

  it('a quotient whose inverse has many digits > that of integers', () => {
    const third = op.Div(op.Cast(shapeOf('H', 9), { to: float32 }), floats(3))
    expect(op.Cast(op.Ceil(third), { to: int64 }).contents).toEqual(['ceil(H/3)', 3])
    expect(op.Cast(third, { to: int64 }).contents).toEqual(['floor(H/3)', 3])
    const more = op.Add(op.Mul(third, floats(2)), floats(1))
    expect(op.Cast(op.Round(more), { to: int64 }).contents).toEqual(['round((H/3)*2+1)', 7])
  })

  it('float arithmetic > rounds as float32 does', () => {
    const tenth = op.Mul(op.Cast(shapeOf(30), { to: float32 }), floats(0.1))
    expect(tenth.contents).toEqual([Math.fround(30 * Math.fround(0.1))])
    expect(op.Cast(op.Ceil(tenth), { to: int64 }).contents).toEqual([3])
  })

  it("Equal and Where, as in PyTorch's expand > are folded", () => {
    const target = op.Concat([int64s([-1]), shapeOf('N')], { axis: 0 })
    const chosen = op.Where(op.Equal(target, int64s([-1])), int64s([1, 1]), target)
    expect(chosen.contents).toEqual([1, 'N'])
  })

  it('a difference, or an unknown condition > stays unknown', () => {
    const less = op.Sub(shapeOf('N'), int64s([3]))
    const chosen = op.Where(op.Equal(less, int64s([-1])), int64s([7]), int64s([8]))
    expect(chosen.contents).toEqual([expect.stringMatching(/^\?/)])
    expect(op.Where(op.Equal(less, int64s([-1])), int64s([7]), int64s([7])).contents).toEqual([7])
  })

  it('products > are folded', () => {
    expect(op.ReduceProd(shapeOf('N', 3, 4)).contents).toEqual(['N*12'])
    expect(op.ReduceProd(shapeOf(2, 3, 4), { keepdims: 0 }).shape).toEqual([])
  })
})

describe('types of elementwise operators', () => {
  const x = (dtype: DType, ...shape: readonly Dim[]) => input('x', dtype, shape)
  it.each<[string, () => Value | readonly Value[], RegExp]>([
    [
      'operands of different types',
      () => op.Add(x('float32', 2), x('float64', 2)),
      /operand types differ: float32 and float64/,
    ],
    [
      'shapes that do not broadcast',
      () => op.Mul(x('float32', 2), x('float32', 3)),
      /\[2\] and \[3\] do not broadcast/,
    ],
    ['an unsupported element type', () => op.Cast(x('float32', 2), { to: 99 }), /element type number 99/],
    [
      'a slope wider than its operand',
      () => op.PRelu(x('float32', 2, 1), x('float32', 3)),
      /slope \[3\] does not broadcast/,
    ],
    ['an axis outside the rank', () => op.ReduceSum(x('float32', 2, 3), [2]), /axis 2 is outside a tensor of 2 axes/],
    ['ArgMax, an axis outside the rank', () => op.ArgMax(x('float32', 2), { axis: -2 }), /axis -2 is outside/],
    ['CumSum, an axis outside the rank', () => op.CumSum(x('float32', 2), [1]), /axis 1 is outside/],
    ['TopK, more than the axis has', () => op.TopK(x('float32', 2), [3]), /cannot choose 3 of 2 elements/],
    ['Clip, one bound per element', () => op.Clip(x('float32', 2), x('float32', 2)), /bounds are scalars, not \[2\]/],
    [
      'a fraction for an integer tensor',
      () => op.Reshape(x('float32', 4), [1.5]),
      /\[1\.5\] is not a list of integers/,
    ],
    ['NaN for an integer tensor', () => op.Reshape(x('float32', 4), [Number.NaN]), /\[NaN\] is not a list of integers/],
    // Two copies of the library have different classes of values.
    ['a value of another copy', () => op.Relu({ ...x('float32', 2) }), /Relu: .* another copy of onnx-ire: 'npm ls/],
    ['two of them', () => op.Add({ ...x('float32', 2) }, { ...x('float32', 2) }), /Add: .* another copy of onnx-ire/],
    ['a negative length', () => op.RandomNormal({ shape: [2, -1] }), /\[2, -1\] is not a shape/],
    ['an identity of three axes', () => op.EyeLike(x('float32', 2, 2, 2)), /only matrices/],
    ['nothing', () => op.Max([]), /needs at least one operand/],
  ])('%s > rejects', (_, build, message) => {
    expect(build).toThrow(expect.objectContaining({ message: expect.stringMatching(message) }))
  })

  it('run-time axes > the rank is known as far as possible', () => {
    const axes = input('axes', 'int64', [1])
    expect(op.ReduceSum(x('float32', 2, 'N', 4), axes, { keepdims: 0 }).shape).toHaveLength(2)
    expect(op.ReduceSum(x('float32', 2, 'N', 4), axes).shape).toHaveLength(3)
    expect(op.ReduceSum(x('float32', 2, 'N'), input('axes', 'int64', ['k']), { keepdims: 0 }).shape).toBeUndefined()
    expect(op.ArgMax(x('float32', 2, 'N'), { axis: 1, keepdims: 0 }).shape).toEqual([2])
    expect(op.TopK(x('float32', 'N', 5), [2])[1]).toMatchObject({ dtype: 'int64', shape: ['N', 2] })
  })
})
