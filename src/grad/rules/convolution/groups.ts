import type { Value } from '../../../ir/value.js'
import { swapFirst } from '../../../op/compose/shape.js'
import { op } from '../../../op/op.js'

/** Moves images to a spatial axis: [N, C, ...] to [C, 1, N, ...]. */
export const imagesToSpatialAxis = (x: Value): Value => op.Unsqueeze(swapFirst(x), [1])

/** Swaps input and output channels within every group: weights [g m, c, ...] of known shape to [g c, m, ...]. */
export function transposeGroups(w: Value, group: number): Value {
  const [outputs, c, ...kernel] = w.shape as readonly number[]
  const m = outputs! / group
  if (group === 1) return swapFirst(w)
  if (m === 1 && c === 1) return w
  return op.Reshape(op.Transpose(op.Reshape(w, [group, m, c!, -1]), { perm: [0, 2, 1, 3] }), [group * c!, m, ...kernel])
}
