import type { AugmentationSpec } from '../../data/augment/registry.js'
import type { ImageOptions } from '../../data/image/image-column.js'
import { choice, type JsonSchema, kind, object, text } from '../../util/json-schema.js'
import { augmentSchema } from './augment-schema.js'
import { type Extent, extent, type Naming, naming } from './common.js'
import { imageDims, imageSchema } from './image-schema.js'

/** CIFAR-10, or CIFAR-100 with its fine classes, in its binary version. */
export type CifarSource = CifarOf<'cifar-10'> | CifarOf<'cifar-100'>

interface CifarOf<Kind extends string> extends Naming, Extent {
  readonly kind: Kind
  /** What the archive unpacks to: cifar-10-batches-bin, cifar-100-binary. */
  readonly folder: string
  /** Default 'train': 50,000 images; 'test': 10,000. */
  readonly part?: 'train' | 'test'
  /** How uint8 pixels become the model's input. */
  readonly image?: ImageOptions
  /** What training does to the images at random, in order. */
  readonly augment?: readonly AugmentationSpec[]
  /** The dims in which the model takes one image: [3072] where it wants rows of pixels. Default: three axes, as in `image`. */
  readonly dims?: readonly number[]
}

const cifarSchema = (name: CifarSource['kind']): JsonSchema =>
  object<CifarSource>(
    {
      kind: kind(name),
      folder: text('the path of the folder that holds the binary version'),
      part: choice(['train', 'test'], 'the images to train on, or those to test on'),
      image: imageSchema,
      augment: augmentSchema,
      dims: imageDims,
      ...naming,
      ...extent,
    },
    ['kind', 'folder'],
  )

export const cifar10Schema = cifarSchema('cifar-10')
export const cifar100Schema = cifarSchema('cifar-100')
