import { int64s } from '../../ir/leaf.js'
import { axisOf, productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { lengthAlong } from '../../op/compose/shape.js'
import type { movement } from '../../op/definitions/movement.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { lengthsOf } from './lengths.js'

/** The axes before `axis` as one, and the rest as one. One length of two need not be known. */
function flattened(x: Value, axis: number): Value {
  const [first, last] = [productOf(x.shape!.slice(0, axis)), productOf(x.shape!.slice(axis))]
  if (typeof last === 'number' && last > 0) return op.Reshape(x, [-1, last])
  if (typeof first === 'number' && first > 0) return op.Reshape(x, [first, -1])
  if (axis === 1) return op.Reshape(x, [0, -1])
  const length = op.ReduceProd(op.Shape(x, { end: axis }), [0], { keepdims: 1 })
  return op.Reshape(x, op.Concat([length, int64s([-1])], { axis: 0 }))
}

/** [N, C, H b, W b] to [N, b b C, H, W] */
function spaceToDepth(x: Value, b: number): Value {
  const [n, c, h, w] = [0, 1, 2, 3].map((axis) => lengthAlong(x, axis)) as [Value, Value, Value, Value]
  const block = int64s([b])
  const [rows, columns] = [op.Div(h, block), op.Div(w, block)]
  const split = op.Reshape(x, op.Concat([n, c, rows, block, columns, block], { axis: 0 }))
  const depth = op.Mul(c, int64s([b * b]))
  return op.Reshape(
    op.Transpose(split, { perm: [0, 3, 5, 1, 2, 4] }),
    op.Concat([n, depth, rows, columns], { axis: 0 }),
  )
}

export const movementLowerings = {
  // Asked only where a length is data: what shapes are made of stays with the host.
  Shape: ([x], { start, end }) => {
    if (!x.shape) return null
    const axes = x.shape.map((_, axis) => axis).slice(start, end)
    return lengthsOf(x, axes[0] ?? 0, (axes.at(-1) ?? -1) + 1)
  },
  Size: ([x]) => (x.shape ? op.ReduceProd(lengthsOf(x, 0, x.shape.length), [0], { keepdims: 0 }) : null),
  // Its kernel ends with operator set 22.
  Flatten: ([x], { axis }) =>
    x.shape ? flattened(x, axis === x.shape.length ? axis : axisOf(axis, x.shape.length)) : null,
  SpaceToDepth: ([x], { blocksize }) => spaceToDepth(x, blocksize),
} satisfies Lowerings<typeof movement>
