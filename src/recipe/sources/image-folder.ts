import type { AugmentationSpec } from '../../data/augment/registry.js'
import type { ImageOptions } from '../../data/image/image-column.js'
import { type JsonSchema, kind, list, object, text } from '../../util/json-schema.js'
import { augmentSchema } from './augment-schema.js'
import { type Extent, extent, type Naming, naming } from './common.js'
import { imageDims, imageSchema } from './image-schema.js'

/** JPEG, PNG and WebP files in one sub-folder per class. They are decoded as they are needed. */
export interface ImageFolderSource extends Naming, Extent {
  readonly kind: 'image-folder'
  readonly folder: string
  /** The sub-folders in the order of their class numbers. Default: those of the training data, sorted by name. */
  readonly classes?: readonly string[]
  /** How pixels become the model's input. Channels are 3 unless said otherwise. */
  readonly image?: ImageOptions
  /** What training does to the images at random, in order. */
  readonly augment?: readonly AugmentationSpec[]
  /** The dims in which the model takes one image: [784] where it wants rows of pixels. Default: three axes, as in `image`. */
  readonly dims?: readonly number[]
}

export const imageFolderSchema: JsonSchema = object<ImageFolderSource>(
  {
    kind: kind('image-folder'),
    folder: text('the path of the folder that has a sub-folder per class'),
    classes: list(text(), { minItems: 1 }, 'the sub-folders in the order of their class numbers'),
    image: imageSchema,
    augment: augmentSchema,
    dims: imageDims,
    ...naming,
    ...extent,
  },
  ['kind', 'folder'],
)
