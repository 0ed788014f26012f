import type { Value } from '../../ir/value.js'
import { op } from '../../op/index.js'

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
    perChannel: (flat) => overOthers(op.ReduceSum, flat, spatial),
    // All the means averaged are over equally many.
    meanPerChannel: (flat) => overOthers(op.ReduceMean, flat, spatial),
  }
}

/**
 * Reduces all axes of [N, C, ...] but the channel. Space first, then the images: onnxruntime's CPU provider takes twice as
 * long where one node does both.
 */
function overOthers(reduce: typeof op.ReduceSum | typeof op.ReduceMean, x: Value, spatial: readonly number[]): Value {
  const perImage = spatial.length === 0 ? x : reduce(x, spatial, { keepdims: 0 })
  return reduce(perImage, [0], { keepdims: 0 })
}
