import type { AugmentationSpec } from '../../data/augment/registry.js'
import type { ImageOptions } from '../../data/image/image-column.js'
import { type JsonSchema, kind, object, text } from '../../util/json-schema.js'
import { augmentSchema } from './augment-schema.js'
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
  /** What training does to the images at random, in order. */
  readonly augment?: readonly AugmentationSpec[]
  /** The dims in which the model takes one image: [784] where it wants rows of pixels. Default: three axes, as in `image`. */
  readonly dims?: readonly number[]
}

export const idxSchema: JsonSchema = object<IdxSource>(
  {
    kind: kind('idx'),
    images: text('the path of the IDX file with the images'),
    labels: text('the path of the IDX file with the labels'),
    image: imageSchema,
    augment: augmentSchema,
    dims: imageDims,
    ...naming,
    ...extent,
  },
  ['kind', 'images'],
)
