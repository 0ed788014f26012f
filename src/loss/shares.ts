import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { type LossGraph, meansOf } from './loss.js'

/** A loss of several means for a part of a batch. */
export interface SharedLoss {
  /** Every mean times its share, of the loss and of what is sampled: summed over the parts, what the whole batch gives. */
  readonly loss: LossGraph
  /** By mean, the scalar inputs that say how much it counts. */
  readonly shares: ReadonlyMap<string, Value>
  /** What these depend on: the loss's `count`, and for every mean `weight/<mean>`. */
  readonly divisors: ReadonlyMap<string, Value>
}

/**
 * Weighs the means of a loss that is a sum of several: each is divided by another number, so no one factor makes the
 * whole's gradient of those of parts. Undefined for a loss of one mean.
 */
export function sharedLoss(whole: LossGraph): SharedLoss | undefined {
  const means = [...(meansOf(whole) ?? [])]
  if (means.length === 0) return undefined
  const shares = new Map(means.map(([name]) => [name, input(`share/${name}`, whole.loss.dtype, [])]))
  const total = (of: readonly (readonly [string, Value])[]) =>
    of.map(([name, value]) => op.Mul(value, shares.get(name)!)).reduce((a, b) => op.Add(a, b))
  const loss = total(means.map(([name, { loss }]) => [name, loss]))
  const { sampled, ...others } = whole
  return {
    loss: {
      ...others,
      loss,
      ...(sampled && { sampled: { ...sampled, loss: total(means.map(([name, { sampled }]) => [name, sampled!])) } }),
    },
    shares,
    divisors: new Map([
      ['count', whole.count],
      ...means.map(([name, { weight }]) => [`weight/${name}`, weight] as const),
    ]),
  }
}
