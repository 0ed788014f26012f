import type { ImageOptions, Model, Tensor } from 'onnx-ire'
import type { ContenderName, DataChoice, DataSummary, Form, ProgressEvent, Settings } from '../../protocol.js'

/** A training run as it is described outside of the page. */
export interface TrainedRun {
  /** The model that it started from, with its file name. */
  readonly original: Model
  readonly name: string
  readonly form: Form
  readonly choice: DataChoice
  readonly summary: DataSummary
  readonly settings: Settings
  /** Task and classes, and images if the model takes images. */
  readonly usage: { readonly task: string; readonly classes: readonly string[]; readonly image?: ImageOptions }
  /** Number of classes of a new last layer; null if the last layer of the file was kept. */
  readonly newHead: number | null
  /** Number of examples for training. */
  readonly trained: number
  /** Names of the input and of the output of the model. */
  readonly input: string
  readonly output: string
  readonly dtype: 'float32' | 'float16'
  /** Number of examples that the model takes at once, 1 if its file does not fix it. */
  readonly batch: number
  /** The first example, as a batch of one. */
  readonly example: Tensor
  readonly history: readonly ProgressEvent[]
  readonly tuned: (contender: ContenderName) => Promise<Uint8Array>
}

/** Name of the file of a tuned model. */
export const tunedName = (contender: ContenderName): string => (contender === 'ire' ? 'tuned-ire.onnx' : 'tuned.onnx')
