import type { Data } from '../../data/stream.js'
import type { LossTarget } from '../../loss/registry.js'
import type { Model } from '../../onnx/model.js'

/** A source of examples, ready to be read. */
export interface Opened {
  readonly data: Data
  /** The same examples without what is costly to make. Default: `data`. */
  readonly labels?: Data
  /** By tensor, the names of the class numbers in it. */
  readonly classes?: ClassNames
  /** The files that the examples are, where each is one. */
  readonly files?: readonly string[]
}

export type ClassNames = Readonly<Record<string, readonly string[]>>

/** What a source is opened for. */
export interface Opening {
  readonly model: Model
  /** What the loss compares with; null when labels are of no interest. */
  readonly targets: readonly LossTarget[] | null
  /** Class names as the training data have them, for a source that does not give its own. */
  readonly classes: () => Promise<ClassNames>
}
