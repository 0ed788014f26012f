import type { ImageOptions, ScoreKind } from 'onnx-ire'

/** Description of a model in the page that runs it. */
export interface DemoSetup {
  readonly title: string
  readonly classes: readonly string[]
  readonly scores: ScoreKind
  readonly input: string
  readonly output: string
  readonly dtype: 'float32' | 'float16'
  /** Number of examples that the model takes at once. */
  readonly batch: number
  readonly data:
    | { readonly kind: 'image'; readonly image: ImageOptions; readonly first: 'draw' | 'camera' | 'photo' }
    | { readonly kind: 'table'; readonly columns: readonly DemoColumn[] }
}

/** A column of a table, its range, and the value to begin with. */
export interface DemoColumn {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly value: number
}
