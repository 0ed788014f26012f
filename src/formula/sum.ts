import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/basic.js'

/** The largest float32: what is not at most this is infinite or NaN. */
export const LARGEST = 3.4028234663852886e38

/**
 * The sum over all elements of x, whose dims are known, as a scalar: in two stages of about the root of their number, for
 * in float32 one long sum would lose digits, and on a GPU one work group would do all of it.
 * @param of what is summed: the elements or their squares
 */
export function sumOf(x: Value, of: 'elements' | 'squares' = 'elements'): Value {
  const length = sizeOf(x.shape as readonly number[])
  const reduce = of === 'squares' ? op.ReduceSumSquare : op.ReduceSum
  if (length <= ONE_STAGE) return reduce(op.Reshape(x, [length]), [0], { keepdims: 0 })
  const columns = columnsFor(length)
  const rows = Math.ceil(length / columns)
  const flat = op.Reshape(x, [length])
  const whole = rows * columns === length ? flat : op.Pad(flat, [0, rows * columns - length])
  return op.ReduceSum(reduce(op.Reshape(whole, [rows, columns]), [1], { keepdims: 0 }), [0], { keepdims: 0 })
}

const ONE_STAGE = 1024

/** A divisor near the root of `length`, else the root itself, for an array to be padded. */
function columnsFor(length: number): number {
  const root = Math.ceil(Math.sqrt(length))
  for (let columns = root; columns <= 4 * root; columns++) if (length % columns === 0) return columns
  return root
}
