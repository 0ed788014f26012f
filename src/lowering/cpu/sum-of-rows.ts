import { scalar } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { knownNumbers } from '../../op/contents.js'
import { op } from '../../op/op.js'

/** Shortest rows whose sum is faster as a product, from some 30 rows on. */
const minRowLength = 256

/** Whether a sum over these axes adds up the rows of a float32 matrix [N, D], of many columns. */
export function addsRows({ dtype, shape }: Value, axes: Value | null): boolean {
  if (dtype !== 'float32' || shape?.length !== 2) return false
  const [axis, ...others] = knownNumbers(axes) ?? []
  if (axis === undefined || others.length > 0 || axisOf(axis, 2) !== 0) return false
  return typeof shape[1] === 'number' && shape[1] >= minRowLength
}

/**
 * The sum of the rows of a matrix, as the product of a row of ones with it. ReduceSum divides the columns among
 * onnxruntime's threads, and the node before has divided the rows: a thread then waits for what another has in its cache.
 */
export function sumOfRows(x: Value, keepdims: boolean): Value {
  // A column of x is as long as the row. Shape nodes of equal lengths are merged in an exported graph: the gradients of
  // all layers would wait for the one whose length is read, and keep their operands in memory until then.
  const column = op.Slice(x, [0], [1], [1])
  const ones = op.Where(scalar('bool', 1), scalar('float32', 1), column)
  const sum = op.MatMul(op.Reshape(ones, [1, -1]), x)
  return keepdims ? sum : op.Squeeze(sum, [0])
}
