import { int64s } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import type { WindowAxis } from '../../../op/window.js'

/** Gradients of a sliding operator's operands, the data's first. */
type Gradients = readonly [dx: Value, ...others: Value[]]

/**
 * Differentiates windows over `x` whose padding is known. SAME padding of symbolic lengths is not: there x is padded by a
 * node of its own, and the gradient of that is cut back.
 *
 * `kernel`: its spatial lengths as a 1-D int64 tensor. `pad` pads another tensor of the spatial lengths of `x` in the same way.
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

/** Padding of SAME_UPPER or SAME_LOWER, int64 [axes]: max(0, (ceil(length / stride) - 1) stride + extent - length), in two parts. */
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
