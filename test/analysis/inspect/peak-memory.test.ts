import { expect, test } from 'vitest'
import { peakBytes } from '../../../src/analysis/inspect/training-step.js'
import { input, op, parameter, type Value } from '../../../src/graph/index.js'

const x = (...shape: number[]): Value => input('x', 'float32', shape)
const peak = (...outputs: Value[]): number => peakBytes(outputs, () => false)

test('peak memory > tensors after their last use > are released', () => {
  // [10, 8] -> [10, 2] -> [10, 8] -> [10, 1]: operand and result of the second and third product
  const a = op.MatMul(x(10, 8), x(8, 2))
  const b = op.MatMul(a, x(2, 8))
  expect(peak(op.MatMul(b, x(8, 1)))).toBe(4 * (80 + 20))
})

test('peak memory > tensors with later uses > count', () => {
  const a = op.MatMul(x(10, 8), x(8, 2))
  const b = op.MatMul(a, x(2, 2))
  expect(peak(op.MatMul(op.Transpose(a, { perm: [1, 0] }), b))).toBe(4 * (20 + 20 + 20))
})

test('peak memory > elementwise operators > reuse their last-used operand; views count as 0', () => {
  const a = op.MatMul(x(10, 8), x(8, 2))
  expect(peak(op.Reshape(op.Tanh(op.Relu(a)), [20]))).toBe(4 * 20)
  expect(peak(op.Add(op.Relu(a), a))).toBe(4 * 40)
  expect(peak(op.Reshape(x(4, 5), [20]))).toBe(0)
})

test('peak memory > outputs > count until the end', () => {
  const [a, b] = [op.MatMul(x(10, 8), x(8, 2)), op.MatMul(x(5, 8), x(8, 3))]
  expect(peak(a, b)).toBe(4 * (20 + 15))
})

test('peak memory > values computed from constants > count as 0', () => {
  const w = parameter('w', { dtype: 'float32', dims: [2, 3], data: new Float32Array(6) })
  const y = op.MatMul(x(1, 3), op.Transpose(w, { perm: [1, 0] }))
  expect(peakBytes([y], ({ source }) => source.kind === 'parameter')).toBe(4 * 2)
  expect(peak(y)).toBe(4 * (2 + 6))
})

test('peak memory > unknown dim > is NaN', () => {
  expect(peak(op.MatMul(input('x', 'float32', ['N', 3]), x(3, 2)))).toBeNaN()
})
