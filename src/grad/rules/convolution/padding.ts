import { int64s } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { samePads } from '../../../op/compose/padding.js'
import { op } from '../../../op/op.js'
import type { WindowAxis } from '../../../op/window.js'

/** Gradients of the operands of a sliding-window operator, the data's first. */
type Gradients = readonly [dx: Value, ...others: Value[]]

/**
 * Calls `gradients` with windows of known padding. SAME padding of symbolic lengths is unknown: a Pad node then pads
 * x, and the gradient is cropped.
 * @param kernel spatial lengths of the kernel as a 1-D int64 tensor
 * @param gradients gets x, its windows and a function that pads another tensor with the spatial lengths of x in the
 *   same way
 */
export function withKnownPadding(
  x: Value,
  kernel: Value,
  window: readonly WindowAxis[],
  autoPad: string,
  gradients: (x: Value, window: readonly WindowAxis[], pad: (like: Value) => Value) => Gradients,
): Gradients {
  if (window.every(({ before, after }) => typeof before === 'number' && typeof after === 'number'))
    return gradients(x, window, (like) => like)
  const { before, after } = samePads(x, kernel, window, autoPad)
  const none = int64s([0, 0])
  const pad = (like: Value) => op.Pad(like, op.Concat([none, before, none, after], { axis: 0 }))
  const unpadded = window.map((axis) => ({ ...axis, before: 0, after: 0 }))
  const [dpadded, ...others] = gradients(pad(x), unpadded, pad)
  const axes = window.map((_, i) => i + 2)
  return [op.Slice(dpadded, before, op.Add(before, op.Shape(x, { start: 2 })), axes), ...others]
}
