import { expect, test } from 'vitest'
import { Arena, peakBytes } from '../../../src/analysis/inspect/arena-peak.js'
import { input, op, parameter, type Value } from '../../../src/graph/index.js'

// Sizes are multiples of 64 floats: 256 bytes, to which the arena rounds.
const x = (...shape: number[]): Value => input('x', 'float32', shape)
const peak = (...outputs: Value[]): number => peakBytes(outputs, () => false)

test('arena > sizes are rounded to 256 bytes, of which the process takes those in use', () => {
  const arena = new Arena()
  arena.allocate(1)
  expect(arena.resident).toBe(1)
  arena.allocate(100)
  expect(arena.resident).toBe(256 + 100)
})

test('arena > a freed chunk is used again, and joins its free neighbors', () => {
  const arena = new Arena()
  const [a, b] = [arena.allocate(512), arena.allocate(512)]
  arena.allocate(256)
  arena.release(b)
  arena.release(a)
  arena.allocate(1024)
  expect(arena.resident).toBe(1024 + 256)
})

test('arena > a gap that is too small for the next tensor stays', () => {
  const arena = new Arena()
  const a = arena.allocate(512)
  arena.allocate(256)
  arena.release(a)
  arena.allocate(768)
  expect(arena.resident).toBe(512 + 256 + 768)
})

test('arena > a chunk is not split if less than half of it would remain', () => {
  const arena = new Arena()
  const a = arena.allocate(1024)
  arena.allocate(256)
  arena.release(a)
  arena.allocate(768)
  arena.allocate(256) // not in the rest of the first chunk
  expect(arena.resident).toBe(1024 + 256 + 256)
})

test('arena > a tensor that no region has room for > a new region; the rest of the old one is never touched', () => {
  const arena = new Arena()
  arena.allocate(256)
  arena.allocate(3 * 2 ** 20)
  expect(arena.resident).toBe(256 + 3 * 2 ** 20)
})

test('peak memory > tensors after their last use > are released', () => {
  // [64, 8] -> [64, 2] -> [64, 8] -> [64, 1]: the last product takes the place of the first
  const a = op.MatMul(x(64, 8), x(8, 2))
  const b = op.MatMul(a, x(2, 8))
  expect(peak(op.MatMul(b, x(8, 1)))).toBe(256 * (2 + 8))
})

test('peak memory > tensors with later uses > count', () => {
  const a = op.MatMul(x(64, 8), x(8, 2))
  const b = op.MatMul(a, x(2, 2))
  expect(peak(op.MatMul(op.Transpose(a, { perm: [1, 0] }), b))).toBe(256 * (2 + 2 + 2))
})

test('peak memory > elementwise operators > reuse their last-used operand; views count as 0', () => {
  const a = op.MatMul(x(64, 8), x(8, 2))
  expect(peak(op.Reshape(op.Tanh(op.Relu(a)), [128]))).toBe(256 * 2)
  expect(peak(op.Add(op.Relu(a), a))).toBe(256 * 4)
  expect(peak(op.Reshape(x(4, 5), [20]))).toBe(0)
})

test('peak memory > outputs > count until the end', () => {
  const [a, b] = [op.MatMul(x(64, 8), x(8, 2)), op.MatMul(x(64, 8), x(8, 3))]
  expect(peak(a, b)).toBe(256 * (2 + 3))
})

test('peak memory > values computed from constants > count as 0', () => {
  const w = parameter('w', { dtype: 'float32', dims: [64, 3], data: new Float32Array(192) })
  const y = op.MatMul(x(1, 3), op.Transpose(w, { perm: [1, 0] }))
  expect(peakBytes([y], ({ source }) => source.kind === 'parameter')).toBe(256)
  expect(peak(y)).toBe(256 * (1 + 3))
})

test('peak memory > unknown dim > is NaN', () => {
  expect(peak(op.MatMul(input('x', 'float32', ['N', 3]), x(3, 2)))).toBeNaN()
})
