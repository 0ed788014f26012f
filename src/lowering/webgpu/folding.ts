import { constant, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { knownNumbers } from '../../op/contents.js'
import type { folding } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import { type WindowAttributes, type WindowAxis, windowOf, windowsAlong } from '../../op/window.js'
import type { Lowerings } from '../lowering.js'
import { everyOf } from './every.js'

/** Adds [N, C taps, windows] up at where the windows lie in the image; what lies in the padding goes to a place behind it. */
function folded(x: Value, image: Value, block: Value, attributes: Omit<WindowAttributes, 'auto_pad'>): Value | null {
  const [lengths, kernel] = [knownNumbers(image), knownNumbers(block)]
  if (!lengths || !kernel) return null
  const window = windowOf({ ...attributes, auto_pad: 'NOTSET' }, kernel, lengths)
  const places = placesOf(lengths, kernel, window)
  const pixels = sizeOf(lengths)
  const columns = op.Reshape(op.Reshape(x, [0, -1, sizeOf(kernel), places.length / sizeOf(kernel)]), [
    0,
    0,
    places.length,
  ])
  const indices = op.Expand(constant(tensorFrom('int32', [places.length], places)), op.Shape(columns))
  const nothing = op.Expand(
    scalar(x.dtype, 0),
    op.Concat([op.Shape(columns, { end: 2 }), int64s([pixels + 1])], { axis: 0 }),
  )
  const sums = op.ScatterElements(nothing, indices, columns, { axis: 2, reduction: 'add' })
  return op.Reshape(op.Slice(sums, [0], [pixels], [2]), [0, 0, ...lengths])
}

/** Where each tap of each window lies in the flat image, taps first; one behind the last where it lies outside. */
function placesOf(
  lengths: readonly number[],
  kernel: readonly number[],
  window: readonly WindowAxis[],
): readonly number[] {
  const counts = lengths.map((length, axis) => windowsAlong(length, window[axis]!, 'NOTSET') as number)
  const outside = sizeOf(lengths)
  return everyOf(kernel).flatMap((tap) =>
    everyOf(counts).map((at) => {
      const pixel = at.map((i, axis) => {
        const { stride, dilation, before } = window[axis]!
        return i * stride + tap[axis]! * dilation - (before as number)
      })
      const inside = pixel.every((i, axis) => i >= 0 && i < lengths[axis]!)
      return inside ? pixel.reduce((place, i, axis) => place * lengths[axis]! + i, 0) : outside
    }),
  )
}

export const foldingLowerings = {
  Col2Im: ([x, image, block], attributes) => folded(x, image, block, attributes),
  MaxUnpool: ([x, indices, to], attributes) => {
    const { shape } = op.MaxUnpool(x, indices, to, attributes)
    if (!isStatic(shape)) return null
    const nothing = op.Expand(scalar(x.dtype, 0), [sizeOf(shape)])
    return op.Reshape(op.ScatterElements(nothing, op.Reshape(indices, [-1]), op.Reshape(x, [-1])), shape)
  },
} satisfies Lowerings<typeof folding>
