import { labels } from '../../data/arrays.js'
import { checkIndices, type Dataset } from '../../data/dataset.js'
import { type ImageOptions, imageConverter } from '../../data/image.js'
import { fitted } from '../../data/taps.js'
import { OnnxIreError } from '../../errors.js'
import type { Tensor } from '../../ir/tensor.js'
import { checkNames } from '../../optim/option.js'
import type { Tensors } from '../../runtime/runtime.js'
import { concurrently } from './concurrent.js'
import { type Decoding, decodeImage } from './decode-image.js'
import { labelledFiles } from './folders.js'
import type { ClassFolder } from './text-folder.js'

/** Options of `imageFiles`. */
export interface ImageFilesOptions {
  /**
   * Size, channels and normalisation of the model's input, as for `images`, but that channels are 3 unless said otherwise.
   * Without `size` all files must have the same.
   */
  readonly image?: ImageOptions | undefined
  /** Name of the images. Default 'image'. */
  readonly input?: string | undefined
}

/** Options of `imageFolder`. */
export interface ImageFolderOptions extends ImageFilesOptions {
  /** The sub-folders in the order of their class numbers. Default: all, sorted by name. */
  readonly classes?: readonly string[] | undefined
  /** Name of the class numbers: int64 [n]. Default 'label'. */
  readonly label?: string | undefined
}

/** What names of images end in. */
export const imageExtensions = ['.jpg', '.jpeg', '.png', '.webp']

/** Images decoded at the same time: as many as the threads that Node has for it. */
const decoders = 4

/**
 * Images in one sub-folder per class, the layout of ImageNet: JPEG, PNG or WebP. Each is decoded when its batch is asked
 * for and then forgotten, so the folder may be larger than memory.
 *
 * ```ts
 * const train = await imageFolder('flowers/train', { image: { size: 224, fit: 'cover', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } })
 * train.classes // ['daisy', 'rose', ...]
 * ```
 * @throws 'io', 'invalid-option', or 'invalid-data' naming the folder without images; when a batch is made, the damaged file
 */
export async function imageFolder(path: string, options: ImageFolderOptions = {}): Promise<ClassFolder> {
  checkNames('imageFolder', options, ['image', 'input', 'classes', 'label'])
  const { classes, label = 'label', image, input } = options
  const found = await labelledFiles(path, imageExtensions, classes)
  const data = imageFiles(found.files, { image, input })
  return {
    ...found,
    length: data.length,
    batch: async (indices) => ({
      ...(await data.batch(indices)),
      [label]: labels(Array.from(indices, (index) => found.labels[index]!)),
    }),
  }
}

/** Images by path, without labels; otherwise as `imageFolder`. */
export function imageFiles(paths: readonly string[], options: ImageFilesOptions = {}): Dataset {
  checkNames('imageFiles', options, ['image', 'input'])
  const { image = {}, input = 'image' } = options
  const convert = fileConverter(image)
  return {
    length: paths.length,
    async batch(indices): Promise<Tensors> {
      checkIndices(indices, paths.length)
      const converted = await concurrently(indices, decoders, (index) => convert(paths[index]!))
      return { [input]: stacked(converted, (i) => paths[indices[i]!]!) }
    },
  }
}

interface Converted {
  readonly dims: readonly number[]
  readonly data: Float32Array
}

function fileConverter(options: ImageOptions): (path: string) => Promise<Converted> {
  const { channels = 3, size, fit = 'fill', background = 0 } = options
  const depth = channels === 4 ? 4 : 3
  imageConverter([1, 1, depth], { ...options, channels }) // refuses impossible options before anything is read
  const target = typeof size === 'number' ? ([size, size] as const) : size
  const decoding: Decoding = {
    channels: depth,
    background,
    shrunk: (source) => (target ? fitted(source, target, fit) : source),
  }
  return async (path) => {
    const { data, ...pixels } = await decodeImage(path, decoding)
    const convert = imageConverter([pixels.rows, pixels.columns, pixels.channels], { ...options, channels })
    const out = new Float32Array(convert.size)
    convert.image(data, 0, out, 0)
    return { dims: convert.dims, data: out }
  }
}

function stacked(images: readonly Converted[], name: (i: number) => string): Tensor {
  const [first] = images
  if (!first) throw new OnnxIreError('invalid-data', 'a batch of no images has no size')
  const data = new Float32Array(images.length * first.data.length)
  for (const [i, { dims, data: own }] of images.entries()) {
    if (dims.some((dim, axis) => dim !== first.dims[axis]))
      throw new OnnxIreError(
        'invalid-data',
        `${name(0)} is [${first.dims.join(', ')}] and ${name(i)} is [${dims.join(', ')}]: give image.size, to which all are resized`,
      )
    data.set(own, i * first.data.length)
  }
  return { dtype: 'float32', dims: [images.length, ...first.dims], data }
}
