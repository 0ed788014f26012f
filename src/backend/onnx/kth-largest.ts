import { dtypes } from '../../ir/dtype.js'
import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'

/**
 * The k-th largest of finite float32 numbers as part of a graph, exactly, where it is known to be at least 0: the largest t
 * that k numbers reach. Its bits are found from the highest to the lowest, by one count for each: 8 of the exponent e, then
 * 23 of the mantissa m.
 *
 *     t = 2^(e - 127) (1 + m)      for e = 0: t = 2^-126 m
 *
 * Nothing on the way is rounded: powers of two come from tables, m is a sum of distinct ones. And nothing but t itself is ever
 * below 2^-126, which a GPU may take for 0.
 * @param counted how many of the numbers are at least t, in int32
 */
export function kthLargest(counted: (t: Value) => Value, k: Value): Value {
  const enough = (t: Value) => op.GreaterOrEqual(counted(t), k)
  let e: Value = scalar('float32', 0)
  for (let bit = 2 ** 7; bit >= 1; bit /= 2) {
    const next = op.Add(e, bit)
    e = op.Where(enough(op.Gather(powers, index(next))), next, e)
  }
  const scale = op.Gather(scales, index(e))
  let m: Value = op.Min([e, 1])
  for (let bit = 2 ** -1; bit >= 2 ** -23; bit /= 2) {
    const next = op.Add(m, bit)
    m = op.Where(enough(op.Mul(scale, next)), next, m)
  }
  return op.Mul(scale, m)
}

const index = (e: Value): Value => op.Cast(e, { to: dtypes.int32.onnx })

const table = (of: (e: number) => number): Value =>
  constant(
    tensorFrom(
      'float32',
      [256],
      Float32Array.from({ length: 256 }, (_, e) => of(e)),
    ),
  )

/** The least number of exponent e; that of 255, infinity, is reached by none. */
const powers = table((e) => (e === 0 ? 0 : e === 255 ? Infinity : 2 ** (e - 127)))

const scales = table((e) => 2 ** (Math.min(254, Math.max(1, e)) - 127))
