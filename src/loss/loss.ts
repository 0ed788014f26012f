import type { Dim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'

/** How the noise a host feeds is distributed: independent standard Gumbel or normal numbers. */
export type Noise = 'gumbel' | 'normal'

/** A loss, as part of a graph. */
export interface LossGraph {
  /** The scalar that is minimised: the mean over the examples (or positions) of a batch. */
  readonly loss: Value
  /** Inputs to be fed from the data beside the model's own, by name. */
  readonly targets: ReadonlyMap<string, Value>
  /** Which of the targets are class numbers, so that labels out of range are refused before they are used. */
  readonly labels?: ReadonlyMap<string, { readonly classes: Dim; readonly ignoreIndex: number | undefined }>
  /** How many examples (or positions) the mean is over; a float scalar. */
  readonly count: Value
  /** How many of them the arg-max gets right, for a classifier; a float scalar. */
  readonly correct?: Value
  /**
   * A scalar whose gradient is that of the plain loss against targets sampled from the model's own output distribution,
   * the targets held fixed: IRE's curvature (arXiv 2405.20763, the Fisher diagonal). And the noise that decides the sample.
   */
  readonly sampled?: {
    readonly loss: Value
    readonly noise: ReadonlyMap<string, { readonly value: Value; readonly distribution: Noise }>
  }
}

/** What is minimised: built onto a model's outputs by name. */
export interface Loss {
  /** For reports. */
  readonly name: string
  build(outputs: ReadonlyMap<string, Value>): LossGraph
}
