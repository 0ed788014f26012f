import type { ImageOptions } from '../../data/image.js'
import { type JsonSchema, kind, object, text } from '../json-schema.js'
import { type Extent, extent, type Naming, naming } from './common.js'
import { imageDims, imageSchema } from './image-schema.js'

/** Two files in IDX format: what the model reads, and what the loss compares with. */
export interface IdxSource extends Naming, Extent {
  readonly kind: 'idx'
  readonly images: string
  /** Only predicting does without. */
  readonly labels?: string
  /** How uint8 pixels become the model's input. */
  readonly image?: ImageOptions
  /** The dims in which the model takes one image: [784] where it wants rows of pixels. Default: three axes, as in `image`. */
  readonly dims?: readonly number[]
}

export const idxSchema: JsonSchema = object<IdxSource>(
  {
    kind: kind('idx'),
    images: text('the path of the IDX file with the images'),
    labels: text('the path of the IDX file with the labels'),
    image: imageSchema,
    dims: imageDims,
    ...naming,
    ...extent,
  },
  ['kind', 'images'],
)
