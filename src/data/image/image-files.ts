import type { Tensor, Tensors } from '../../ir/tensor.js'
import { checkNames } from '../../util/check.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkIndices, type Dataset } from '../dataset.js'
import { fitSize } from './bilinear.js'
import { type ImageOptions, imageConverter } from './image-column.js'

/** An image as bytes [rows, columns, channels]. */
export interface DecodedImage {
  readonly data: Uint8Array
  readonly rows: number
  readonly columns: number
  readonly channels: number
}

/** How a file is to be decoded. */
export interface DecodeOptions {
  /** 3 (RGB) or 4 (with alpha). */
  readonly channels: 3 | 4
  /** Grey, 0 to 255, that shows through where an image of 3 channels is transparent. */
  readonly background: number
  /** The rows and columns that an image of these is to be given; where that is fewer, it is shrunk. */
  targetSize(size: readonly [rows: number, columns: number]): readonly [rows: number, columns: number]
}

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

/** What names of images end in. */
export const imageExtensions = ['.jpg', '.jpeg', '.png', '.webp']

/** Images decoded at the same time: as many as the threads that Node has for it. */
const concurrentDecoders = 4

/**
 * Images that are decoded when their batch is asked for, and then forgotten.
 * @param decode decodes one; what it throws names the file
 */
export function imageFileDataset<F>(
  files: readonly F[],
  nameOf: (file: F) => string,
  decode: (file: F, decoding: DecodeOptions) => Promise<DecodedImage>,
  options: ImageFilesOptions,
): Dataset {
  checkNames('imageFiles', options, ['image', 'input'])
  const { image = {}, input = 'image' } = options
  const convert = createConverter(image, decode)
  return {
    length: files.length,
    async batch(indices): Promise<Tensors> {
      checkIndices(indices, files.length)
      const converted = await mapConcurrently(indices, concurrentDecoders, (index) => convert(files[index]!))
      return { [input]: stackImages(converted, (i) => nameOf(files[indices[i]!]!)) }
    },
  }
}

interface ConvertedImage {
  readonly dims: readonly number[]
  readonly data: Float32Array
}

function createConverter<F>(
  options: ImageOptions,
  decode: (file: F, decoding: DecodeOptions) => Promise<DecodedImage>,
): (file: F) => Promise<ConvertedImage> {
  const { channels = 3, size, fit = 'fill', background = 0 } = options
  const depth = channels === 4 ? 4 : 3
  imageConverter([1, 1, depth], { ...options, channels }) // refuses impossible options before anything is read
  const target = typeof size === 'number' ? ([size, size] as const) : size
  const decoding: DecodeOptions = {
    channels: depth,
    background,
    targetSize: (source) => (target ? fitSize(source, target, fit) : source),
  }
  return async (file) => {
    const { data, ...pixels } = await decode(file, decoding)
    const convert = imageConverter([pixels.rows, pixels.columns, pixels.channels], { ...options, channels })
    const out = new Float32Array(convert.size)
    convert.image(data, 0, out, 0)
    return { dims: convert.dims, data: out }
  }
}

function stackImages(images: readonly ConvertedImage[], name: (i: number) => string): Tensor {
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
