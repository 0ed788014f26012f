import { constant, tensorFrom } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import type { WindowAxis } from '../../../op/window.js'

/**
 * What every window sees, as columns: [N, C, ...] -> [N, C * taps, ...windows]. A depthwise convolution whose kernels are the
 * unit vectors picks one tap each: faster than slicing and joining, and it follows strides, dilations and pads by itself.
 */
export function columnsOf(x: Value, kernel: readonly number[], window: readonly WindowAxis[], channels: number): Value {
  const taps = kernel.reduce((product, length) => product * length, 1)
  const pads = [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)]
  if (taps === 1 && pads.every((pad) => pad === 0)) return everyStride(x, window)
  const unit = constant(tensorFrom(x.dtype, [1, taps, 1, ...kernel], identity(taps)))
  const units = op.Reshape(op.Expand(unit, [channels, taps, 1, ...kernel]), [channels * taps, 1, ...kernel])
  return op.Conv(x, units, { group: channels, strides: window.map(({ stride }) => stride), dilations: window.map(({ dilation }) => dilation), pads })
}

/** x[:, :, ::stride, ...] */
function everyStride(x: Value, window: readonly WindowAxis[]): Value {
  const strided = window.flatMap(({ stride }, i) => (stride > 1 ? [{ stride, axis: i + 2 }] : []))
  if (strided.length === 0) return x
  return op.Slice(
    x,
    strided.map(() => 0),
    strided.map(() => 2 ** 31 - 1),
    strided.map(({ axis }) => axis),
    strided.map(({ stride }) => stride),
  )
}

const identity = (n: number): number[] => Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0))
