import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { reduceOver } from '../reduce.js'

/** How a tensor [N, C, ...] is worked on channel by channel. */
export interface Channels {
  /** `x` or a tensor like it, as [N, C, rest] where the number of axes is unknown, else as it is. */
  flat(like: Value): Value
  /** The inverse of `flat`. */
  restored(flat: Value): Value
  /** [C] -> [C, 1 ...]: broadcasts against `flat(x)`. */
  column(perChannel: Value): Value
  /** The axes of `flat(x)` behind the channel. */
  readonly spatial: readonly number[]
  /** Sums a tensor like `flat(x)` over everything but the channel: [C]. */
  perChannel(flat: Value): Value
  /** Its mean, likewise. */
  meanPerChannel(flat: Value): Value
}

export function channelsOf(x: Value): Channels {
  const spatial = x.shape ? x.shape.map((_, axis) => axis).slice(2) : [2]
  return {
    flat: (like) => (x.shape ? like : op.Reshape(like, [0, 0, -1])),
    restored: (flat) => (x.shape ? flat : op.Reshape(flat, op.Shape(x))),
    column: (perChannel) =>
      spatial.length === 0
        ? perChannel
        : op.Unsqueeze(
            perChannel,
            spatial.map((axis) => axis - 1),
          ),
    spatial,
    perChannel: (flat) => reduceOver(op.ReduceSum, flat, [0, ...spatial], 0),
    meanPerChannel: (flat) => reduceOver(op.ReduceMean, flat, [0, ...spatial], 0),
  }
}
