import { int64s } from '../ir/leaf.js'
import { sameShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { reduceOver } from '../op/compose/statistics.js'
import { op } from '../op/op.js'

/**
 * Sums the gradient of a broadcast operand to the operand's shape: the adjoint of repeating along an axis is summing
 * along it.
 */
export function sumTo(dy: Value, x: Value): Value {
  if (sameShape(dy.shape, x.shape)) return dy
  const axes = broadcastAxes(dy, x)
  if (axes === undefined) return sumToAtRunTime(dy, x)
  if (axes.length === 0) return dy
  // Axes of x stay with length 1; leading axes that x lacks are removed.
  const lead = dy.shape!.length - x.shape!.length
  const keepdims = axes.some((axis) => axis < lead) ? 0 : 1
  const summed = reduceOver(op.ReduceSum, dy, axes, keepdims)
  return summed.shape!.length === x.shape!.length ? summed : op.Reshape(summed, op.Shape(x))
}

/** Axes of `dy` along which `x` was broadcast; undefined if symbolic lengths leave it open. */
function broadcastAxes(dy: Value, x: Value): number[] | undefined {
  if (!dy.shape || !x.shape) return undefined
  const lead = dy.shape.length - x.shape.length
  const axes = dy.shape.flatMap((_, axis) => (axis < lead || x.shape![axis - lead] === 1 ? [axis] : []))
  const isDecided = dy.shape.every(
    (dim, axis) => axes.includes(axis) || dim === x.shape![axis - lead] || typeof x.shape![axis - lead] === 'number',
  )
  return isDecided ? axes.filter((axis) => axis < lead || dy.shape![axis] !== 1) : undefined
}

/**
 * `sumTo` with axes that the graph finds when it runs: those along which the two shapes, aligned at their ends,
 * differ.
 */
function sumToAtRunTime(dy: Value, x: Value): Value {
  const [to, from] = [op.Shape(x), op.Shape(dy)]
  const missing = op.Sub(op.Shape(from), op.Shape(to))
  const aligned = op.Concat([op.Expand(int64s([1]), missing), to], { axis: 0 })
  const axes = op.Squeeze(op.NonZero(op.Not(op.Equal(aligned, from))), [0])
  return op.Reshape(op.ReduceSum(dy, axes, { keepdims: 1, noop_with_empty_axes: 1 }), to)
}
