import type { AugmentationSpec } from '../../data/augment/registry.js'
import type { ImageOptions } from '../../data/image/image-column.js'
import type { MaskOptions } from '../../data/image/mask-files.js'
import {
  choice,
  either,
  type JsonSchema,
  kind,
  kinds,
  list,
  object,
  real,
  text,
  whole,
} from '../../util/json-schema.js'
import { type Defined, nameFields, rangeFields, type SourceNames, type SourceRange } from './common.js'

/** Schema of a number of rows, columns or pixels. */
const side = (minimum: number, description?: string) => whole(minimum, description, 2 ** 14)

const perChannel = either([real(), list(real(), { minItems: 1 })], 'a number, or a list of one per channel')

/** JSON Schema of the conversion of pixels to a model's input. */
const imageSchema: JsonSchema = object<ImageOptions>({
  size: either(
    [side(1), list(side(1), { minItems: 2, maxItems: 2 })],
    "the side of the model's square input, or [rows, columns]",
  ),
  fit: choice(['fill', 'contain', 'cover', 'none', 'line'], 'the resizing of images of another size'),
  channels: whole(1, "the channels of the model's input", 1024),
  order: choice(['RGB', 'BGR'], "the order of the channels in the model's input"),
  scale: real({}, 'the factor of pixel values, 1/255 by default'),
  mean: perChannel,
  std: perChannel,
  background: real({ minimum: 0, maximum: 255 }, 'the pixel value of the background'),
  layout: choice(['NCHW', 'NHWC'], 'the order of the axes'),
})

type Of<Kind extends AugmentationSpec['kind']> = Extract<AugmentationSpec, { readonly kind: Kind }>

const pair = (bounds: Omit<JsonSchema, 'type'>, description: string) =>
  list(real(bounds), { minItems: 2, maxItems: 2 }, description)

const size = either([side(1), list(side(1), { minItems: 2, maxItems: 2 })], 'the side of a square, or [rows, columns]')

/** JSON Schema of the augmentations of images in training. */
const augmentSchema: JsonSchema = list(
  kinds(
    object<Of<'crop'>>(
      {
        kind: kind('crop'),
        padding: side(0, 'the padding on every side, in pixels'),
        fill: either(
          [real({ minimum: 0, maximum: 255 }), choice(['mean', 'reflect'])],
          "the fill of the padding: a pixel value, 'mean' or 'reflect'",
        ),
        size,
      },
      ['kind'],
    ),
    object<Of<'flip'>>({ kind: kind('flip'), probability: real({ minimum: 0, maximum: 1 }) }, ['kind']),
    object<Of<'cutout'>>(
      {
        kind: kind('cutout'),
        size: side(1, 'the side of a square, in pixels'),
        count: whole(1, 'the number of squares', 1024),
      },
      ['kind', 'size'],
    ),
    object<Of<'resized-crop'>>(
      {
        kind: kind('resized-crop'),
        size,
        scale: pair({ exclusiveMinimum: 0, maximum: 1 }, "bounds of the crop's share of the area"),
        ratio: pair({ exclusiveMinimum: 0 }, 'bounds of width / height'),
      },
      ['kind', 'size'],
    ),
    object<Of<'rand-augment'>>(
      {
        kind: kind('rand-augment'),
        operations: whole(1, 'the number of operations per image', 64),
        magnitude: whole(0, 'the strength of the operations', 1024),
        bins: whole(2, 'the number of strengths', 1024),
      },
      ['kind'],
    ),
  ),
  {},
  'the augmentations of the images in training, in order',
)

/** Options of every source of images. */
interface ImageSource extends SourceNames, SourceRange {
  /** Conversion of pixels to the model's input; images of a folder have 3 channels by default. */
  readonly image?: ImageOptions
  /** Augmentations of the images in training, in order. */
  readonly augment?: readonly AugmentationSpec[]
  /** Dims of one image in the model's input, [784] for flat pixels for instance. Default: three axes, as in `image`. */
  readonly dims?: readonly number[]
}

const imageFields = {
  image: imageSchema,
  augment: augmentSchema,
  dims: list(whole(1), { minItems: 1 }, "the dims of one image in the model's input"),
  ...nameFields,
  ...rangeFields,
}

/** Folder of JPEG, PNG, WebP, GIF and AVIF files with a sub-folder per class; images are decoded on demand. */
export interface ImageFolderSource extends ImageSource {
  readonly kind: 'image-folder'
  readonly folder: string
  /** Sub-folders in the order of their class numbers. Default: the sub-folders of the training data, sorted by name. */
  readonly classes?: readonly string[]
}

export const imageFolderSchema: JsonSchema = object<ImageFolderSource>(
  {
    kind: kind('image-folder'),
    folder: text('the path of the folder with a sub-folder per class'),
    classes: list(text(), { minItems: 1 }, 'the sub-folders in the order of their class numbers'),
    ...imageFields,
  },
  ['kind', 'folder'],
)

/** Folder of images and folder of masks of the same names, for segmentation; decoded on demand. */
export interface ImageMasksSource extends ImageSource {
  readonly kind: 'image-masks'
  /** Path of the folder with the images. */
  readonly images: string
  /** Path of the folder with the masks; optional for predictions only. */
  readonly masks?: string
  /** Meaning of the pixels of the masks; 'binary' by default for a loss that compares no classes. */
  readonly mask?: Defined<MaskOptions>
}

export const imageMasksSchema: JsonSchema = object<ImageMasksSource>(
  {
    kind: kind('image-masks'),
    images: text('the path of the folder with the images'),
    masks: text('the path of the folder with the masks, which have the names of the images'),
    mask: object<MaskOptions>({
      as: choice(['class', 'binary'], 'class numbers, or 1 for every pixel other than 0'),
      colors: list(
        list(whole(0, undefined, 255), { minItems: 3, maxItems: 3 }),
        { minItems: 1 },
        'the colors [red, green, blue] of the classes, in the order of their numbers',
      ),
      ignoreIndex: whole(-1e9, 'the label of other colors, and of pixels outside the image'),
      suffix: text("the end of the masks' names, such as _mask"),
    }),
    ...imageFields,
  },
  ['kind', 'images'],
)

/** Image files with their texts, for text recognition with `ctc`; decoded on demand. */
export interface ImageTextsSource extends ImageSource {
  readonly kind: 'image-texts'
  /**
   * Path of the file that lists images and texts: a .csv or .jsonl file, or lines with the path of an image, a tab and
   * the text, as PaddleOCR has them.
   */
  readonly file: string
  /** Folder that the paths of images are relative to. Default: the folder of `file`. */
  readonly folder?: string
  /** Columns of a .csv file, or fields of a .jsonl file. Default: 'image' and 'text'. */
  readonly fields?: { readonly image?: string; readonly text?: string }
  /**
   * Path of a file with a character per line, in the order of the classes after the blank. Default: the characters in
   * the metadata of the model, else those of the training texts, sorted.
   */
  readonly dictionary?: string
}

export const imageTextsSchema: JsonSchema = object<ImageTextsSource>(
  {
    kind: kind('image-texts'),
    file: text('the path of the file with images and texts: lines of path, tab and text; .csv; or .jsonl'),
    folder: text('the path of the folder that the paths of images are relative to'),
    fields: object<NonNullable<ImageTextsSource['fields']>>({
      image: text('the column or field with the path of the image'),
      text: text('the column or field with the text'),
    }),
    dictionary: text('the path of the file with a character per line, in the order of the classes'),
    ...imageFields,
  },
  ['kind', 'file'],
)

/** Two files in IDX format: images and labels. */
export interface IdxSource extends ImageSource {
  readonly kind: 'idx'
  readonly images: string
  /** Path of the labels; optional for predictions only. */
  readonly labels?: string
}

export const idxSchema: JsonSchema = object<IdxSource>(
  {
    kind: kind('idx'),
    images: text('the path of the IDX file with the images'),
    labels: text('the path of the IDX file with the labels'),
    ...imageFields,
  },
  ['kind', 'images'],
)

/** CIFAR-10, or CIFAR-100 with its fine classes, in its binary version. */
export type CifarSource = CifarOf<'cifar-10'> | CifarOf<'cifar-100'>

interface CifarOf<Kind extends string> extends ImageSource {
  readonly kind: Kind
  /** Path of the unpacked folder: cifar-10-batches-bin or cifar-100-binary. */
  readonly folder: string
  /** Part of the data set: 'train' (default) has 50,000 images, 'test' 10,000. */
  readonly part?: 'train' | 'test'
}

const cifarSchema = (name: CifarSource['kind']): JsonSchema =>
  object<CifarSource>(
    {
      kind: kind(name),
      folder: text('the path of the folder with the binary version'),
      part: choice(['train', 'test'], 'the training images or the test images'),
      ...imageFields,
    },
    ['kind', 'folder'],
  )

export const cifar10Schema = cifarSchema('cifar-10')
export const cifar100Schema = cifarSchema('cifar-100')
