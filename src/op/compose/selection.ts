import { int64s } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { selection } from '../definitions/indexing.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'
import { lengthAlong } from './shape.js'

/** Indices along `axis` at which TensorScatter writes an update: int64 of the update's shape. */
function writtenPlaces(past: Value, update: Value, start: Value | null, axis: number, mode: string): Value {
  const rank = past.shape?.length ?? update.shape?.length
  if (rank === undefined) {
    throw new OnnxIreError('not-differentiable', 'TensorScatter: its gradient needs the number of axes of the cache')
  }
  const at = axisOf(axis, rank)
  const along = (other: number) => Array.from({ length: rank }, (_, own) => (own === other ? -1 : 1))
  const steps = op.Reshape(op.Range(0, op.Reshape(lengthAlong(update, at), int64s([])), 1), along(at))
  const places = start ? op.Add(op.Reshape(start, along(0)), steps) : steps
  return op.Expand(mode === 'circular' ? op.Mod(places, lengthAlong(past, at)) : places, op.Shape(update))
}

export const selectionExpansions = {
  TensorScatter: ([past, update, start], { axis, mode }) =>
    op.ScatterElements(past, writtenPlaces(past, update, start, axis, mode), update, { axis }),
  // The elements at the positions where the condition holds.
  Compress: ([x, condition], { axis }) => {
    const positions = op.Squeeze(op.NonZero(condition), [0])
    return axis === undefined ? op.Gather(op.Reshape(x, [-1]), positions) : op.Gather(x, positions, { axis })
  },
} satisfies Expansions<typeof selection>
