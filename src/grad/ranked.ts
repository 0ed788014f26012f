import { unknownDim } from '../ir/shape.js'
import { refineShape, type Value } from '../ir/value.js'
import { op } from '../op/op.js'

/** `x`, known to have `rank` axes because only that makes sense where it is used, also where inference lost their number. */
export function withRank(x: Value, rank: number | undefined): Value {
  if (x.shape || rank === undefined) return x
  const same = op.Identity(x)
  refineShape(same, Array.from({ length: rank }, unknownDim))
  return same
}
