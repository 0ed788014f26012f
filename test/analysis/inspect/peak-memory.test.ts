import { expect, test } from 'vitest'
import { peakBytes } from '../../../src/analysis/inspect/peak-memory.js'
import { input, op, parameter, type Value } from '../../../src/graph/index.js'

const x = (...shape: number[]): Value => input('x', 'float32', shape)
const peak = (...outputs: Value[]): number => peakBytes(outputs, () => false)

test('what is read for the last time is freed', () => {
  // [10, 8] -> [10, 2] -> [10, 8] -> [10, 1]: operand and result of the second and third product
  const a = op.MatMul(x(10, 8), x(8, 2))
  const b = op.MatMul(a, x(2, 8))
  expect(peak(op.MatMul(b, x(8, 1)))).toBe(4 * (80 + 20))
})

test('what is read later is held', () => {
  const a = op.MatMul(x(10, 8), x(8, 2))
  const b = op.MatMul(a, x(2, 2))
  expect(peak(op.MatMul(op.Transpose(a, { perm: [1, 0] }), b))).toBe(4 * (20 + 20 + 20))
})

test('elementwise operators write over what they read last, views take nothing', () => {
  const a = op.MatMul(x(10, 8), x(8, 2))
  expect(peak(op.Reshape(op.Tanh(op.Relu(a)), [20]))).toBe(4 * 20)
  expect(peak(op.Add(op.Relu(a), a))).toBe(4 * 40)
  expect(peak(op.Reshape(x(4, 5), [20]))).toBe(0)
})

test('results are held to the end', () => {
  const [a, b] = [op.MatMul(x(10, 8), x(8, 2)), op.MatMul(x(5, 8), x(8, 3))]
  expect(peak(a, b)).toBe(4 * (20 + 15))
})

test('what is computed from constants takes nothing', () => {
  const w = parameter('w', { dtype: 'float32', dims: [2, 3], data: new Float32Array(6) })
  const y = op.MatMul(x(1, 3), op.Transpose(w, { perm: [1, 0] }))
  expect(peakBytes([y], ({ source }) => source.kind === 'parameter')).toBe(4 * 2)
  expect(peak(y)).toBe(4 * (2 + 6))
})

test('a length that is not known', () => {
  expect(peak(op.MatMul(input('x', 'float32', ['N', 3]), x(3, 2)))).toBeNaN()
})
