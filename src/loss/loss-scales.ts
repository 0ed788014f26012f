import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { type LossGraph, meanTermsOf } from './loss.js'

/** Loss of a micro-batch with its terms scaled by inputs. */
export interface ScaledLoss {
  /**
   * Loss (and sampled loss) with every term times its scale; the sum over the micro-batches is that of the whole batch.
   */
  readonly loss: LossGraph
  /** Scalar inputs that scale the terms, by term. */
  readonly scales: ReadonlyMap<string, Value>
  /** Values the scales are computed from: the loss's `count`, and `weight/<term>` for every term. */
  readonly divisors: ReadonlyMap<string, Value>
}

/**
 * Scales every mean term of a loss by an input. Terms have different divisors, so no single factor turns the gradients
 * of micro-batches into the gradient of the batch. Undefined for a loss that is a single mean.
 */
export function scaleTerms(whole: LossGraph): ScaledLoss | undefined {
  const terms = [...(meanTermsOf(whole) ?? [])]
  if (terms.length === 0) return undefined
  const scales = new Map(terms.map(([name]) => [name, input(`share/${name}`, whole.loss.dtype, [])]))
  const total = (of: readonly (readonly [string, Value])[]) =>
    of.map(([name, value]) => op.Mul(value, scales.get(name)!)).reduce((a, b) => op.Add(a, b))
  const loss = total(terms.map(([name, { loss }]) => [name, loss]))
  const { sampled, ...others } = whole
  return {
    loss: {
      ...others,
      loss,
      ...(sampled && { sampled: { ...sampled, loss: total(terms.map(([name, { sampled }]) => [name, sampled!])) } }),
    },
    scales,
    divisors: new Map([
      ['count', whole.count],
      ...terms.map(([name, { weight }]) => [`weight/${name}`, weight] as const),
    ]),
  }
}
