import { int64s } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'
import type { WindowAxis } from '../window.js'

/**
 * Padding of SAME_UPPER or SAME_LOWER, int64 [axes]: max(0, (ceil(length / stride) - 1) stride + extent - length),
 * split in two.
 */
export function samePads(
  x: Value,
  kernel: Value,
  window: readonly WindowAxis[],
  autoPad: string,
): { before: Value; after: Value } {
  const length = op.Shape(x, { start: 2 })
  const stride = int64s(window.map(({ stride }) => stride))
  const extent = op.Add(op.Mul(op.Sub(kernel, 1), int64s(window.map(({ dilation }) => dilation))), 1)
  const lastStart = op.Mul(op.Div(op.Sub(length, 1), stride), stride)
  const total = op.Max([op.Sub(op.Add(lastStart, extent), length), int64s([0])])
  const half = op.Div(total, int64s([2]))
  const rest = op.Sub(total, half)
  return autoPad === 'SAME_UPPER' ? { before: half, after: rest } : { before: rest, after: half }
}
