import type { Dim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'

/** How the noise a host feeds is distributed: independent standard draws of the methods of `Random` with these names. */
export type Noise = 'gumbel' | 'normal' | 'logistic' | 'sign' | { readonly huber: number }

/** A loss, as part of a graph. */
export interface LossGraph {
  /** The scalar that is minimised: the (weighted) mean over the examples (or positions) of a batch. */
  readonly loss: Value
  /** Inputs to be fed from the data beside the model's own, by name. */
  readonly targets: ReadonlyMap<string, Value>
  /** Which of the targets are class numbers, so that labels out of range are refused before they are used. */
  readonly labels?: ReadonlyMap<string, { readonly classes: Dim; readonly ignoreIndex: number | undefined }>
  /** How many examples (or positions) the mean is over; a float scalar. */
  readonly count: Value
  /**
   * What the mean is divided by, where that is not `count`: the sum of weights; a float scalar. Parts of a batch, and
   * batches of a data set, are averaged by it, so that a batch in parts gives what the whole gives.
   */
  readonly weight?: Value
  /** The means it is the sum of, where each is divided by another number, so that batches in parts are exact. */
  readonly means?: Means
  /** What is compared, for metrics: by task, '' where there is only one. */
  readonly compared?: ReadonlyMap<string, Compared>
  /**
   * A scalar whose gradient is that of the plain loss against targets sampled from the model's own output distribution,
   * the targets held fixed: IRE's curvature (arXiv 2405.20763, the Fisher diagonal). Where targets weigh omega_i, it is
   * sum_i sqrt(omega_i) g_i / sqrt(count weight), so that E[count g^2] = sum_i omega_i E[g_i^2] / weight. And the noise that
   * decides the sample.
   */
  readonly sampled?: {
    readonly loss: Value
    readonly noise: ReadonlyMap<string, { readonly value: Value; readonly distribution: Noise }>
  }
}

/** What a loss of several means is made of. */
export interface Means {
  /** Their sum. A loss made of this one by something more has another `loss`: these are of no use to it. */
  readonly loss: Value
  /** By task. */
  readonly each: ReadonlyMap<string, Mean>
}

/** One of the means that a loss is the sum of. */
export interface Mean {
  /** The mean times its factor: what it adds to the loss. */
  readonly loss: Value
  /** What it is divided by; a float scalar. */
  readonly weight: Value
  /**
   * What it adds to the sampled loss, there if that is: a sum over its targets, divided by the root of the loss's `count`
   * times `weight`.
   */
  readonly sampled?: Value
}

/** A prediction beside its target. `kept` is a bool per target, false for what is ignored; null where all of it counts. */
export type Compared =
  | {
      /** One class of several, per example or position. */
      readonly kind: 'classes'
      /** Unnormalised scores; the classes lie along `axis`. */
      readonly logits: Value
      readonly axis: number
      /** int64, the logits' shape without the class axis. */
      readonly labels: Value
      readonly kept: Value | null
    }
  | {
      /** Yes or no, per element. */
      readonly kind: 'binary'
      readonly logits: Value
      /** 0 or 1 (or between), of the logits' type and shape. */
      readonly targets: Value
      readonly kept: Value | null
    }
  | {
      /** Numbers, element by element. */
      readonly kind: 'values'
      readonly output: Value
      readonly targets: Value
      readonly kept: Value | null
    }

/** What is minimised: built onto a model's outputs by name. */
export interface Loss {
  /** For reports. */
  readonly name: string
  /** Throws `invalid-option` and `invalid-shape` where the outputs do not fit. */
  build(outputs: ReadonlyMap<string, Value>): LossGraph
}

/** The means that this very loss is the sum of, if there are several. */
export const meansOf = ({ loss, means }: LossGraph): ReadonlyMap<string, Mean> | undefined =>
  means?.loss === loss ? means.each : undefined
