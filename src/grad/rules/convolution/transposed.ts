import { int64s } from '../../../ir/leaf.js'
import type { Dim } from '../../../ir/shape.js'
import type { Value } from '../../../ir/value.js'
import { swapFirst } from '../../../op/compose/shape.js'
import { op } from '../../../op/op.js'
import { extentOf, type WindowAxis } from '../../../op/window.js'

/**
 * The weight gradient as a convolution of x with dy, images in the place of channels: strides and dilations change places.
 * [N, g c, ...] and [N, g m, ...] give [c, g m, taps], and nothing needs to be known before running.
 */
export function byTransposedConvolution(
  x: Value,
  w: Value,
  dy: Value,
  window: readonly WindowAxis[],
  group: number,
): Value {
  const product = op.Conv(channelsFirst(x, w, group), swapFirst(dy), {
    group,
    strides: window.map(({ dilation }) => dilation),
    dilations: window.map(({ stride }) => stride),
    pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
  })
  const dw = swapFirst(product)
  const exact = window.every(
    (axis, i) => (restOf(axis, x.shape![i + 2]!, dy.shape![i + 2]!) ?? axis.stride - 1) < axis.dilation,
  )
  const axes = window.map((_, i) => i + 2)
  return exact
    ? dw
    : op.Slice(
        dw,
        axes.map(() => 0),
        op.Shape(w, { start: 2 }),
        axes,
      )
}

/** Elements at the end of the padded axis that no window reaches: they would make a further tap. */
function restOf(axis: WindowAxis, length: Dim, windows: Dim): number | undefined {
  const extent = extentOf(axis)
  if (typeof length !== 'number' || typeof windows !== 'number' || typeof extent !== 'number') return undefined
  return length + (axis.before as number) + (axis.after as number) - extent - (windows - 1) * axis.stride
}

/** [N, g c, ...] -> [c, g N, ...] */
function channelsFirst(x: Value, w: Value, group: number): Value {
  const swapped = swapFirst(x)
  if (group === 1) return swapped
  const spatial = Array<number>(x.shape!.length - 2).fill(0)
  if (w.shape![1] === 1) return op.Reshape(swapped, [1, -1, ...spatial])
  const c = op.Shape(w, { start: 1, end: 2 })
  const grouped = op.Reshape(x, op.Concat([int64s([0, group]), c, int64s([-1])], { axis: 0 }))
  return op.Reshape(
    op.Transpose(grouped, { perm: [2, 1, 0, 3] }),
    op.Concat([c, int64s([-1]), op.Shape(x, { start: 2 })], { axis: 0 }),
  )
}
