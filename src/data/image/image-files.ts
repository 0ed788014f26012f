import type { Tensor, Tensors } from '../../ir/tensor.js'
import { checkNames } from '../../util/check.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkIndices, checksumSizes, type Dataset } from '../dataset.js'
import { fitSize } from './bilinear.js'
import { type ImageOptions, imageConverter } from './image-column.js'

/** Decoded image: bytes [rows, columns, channels]. */
export interface DecodedImage {
  readonly data: Uint8Array
  readonly rows: number
  readonly columns: number
  readonly channels: number
}

/** Options of decoding an image file. */
export interface DecodeOptions {
  /** Channels of the decoded image: 3 (RGB) or 4 (with alpha). */
  readonly channels: 3 | 4
  /** Gray value, 0 to 255, behind transparent pixels of an image of 3 channels. */
  readonly background: number
  /** Computes the rows and columns to shrink an image to while decoding; a larger size leaves it unchanged. */
  targetSize(size: readonly [rows: number, columns: number]): readonly [rows: number, columns: number]
}

/** Options of `imageFiles`. */
export interface ImageFilesOptions {
  /**
   * Size, channels and normalization of the model's input, as for `imageColumn`, with 3 channels by default. Without
   * `size` all files must have the same size.
   */
  readonly image?: ImageOptions | undefined
  /** Name of the image tensor. Default 'image'. */
  readonly input?: string | undefined
}

/** File name extensions of images. */
export const imageExtensions = ['.jpg', '.jpeg', '.png', '.webp', '.gif', '.avif']

/** File name extensions of images that are not read. */
export const otherImageExtensions = ['.bmp', '.tif', '.tiff', '.heic', '.heif', '.jxl', '.jp2', '.ico', '.svg', '.psd']

/** Describes the files of a folder that are not read; undefined if there are none. */
export function describeSkipped(files: readonly string[]): string | undefined {
  if (files.length === 0) return undefined
  const endings = [...new Set(files.map((file) => file.slice(file.lastIndexOf('.')).toLowerCase()))].sort()
  return `${files.length} ${files.length === 1 ? 'image was' : 'images were'} skipped, since ${endings.join(', ')} cannot be read: convert them to PNG (first: ${files[0]})`
}

/** Number of images decoded at the same time: the size of Node's thread pool. */
const concurrentDecoders = 4

/**
 * Creates a data set of image files, decoded when their batch is loaded and not cached.
 * @param sizeOf returns the number of bytes of a file
 * @param decode decodes one file; its errors name the file
 */
export function imageFileDataset<F>(
  files: readonly F[],
  nameOf: (file: F) => string,
  sizeOf: (file: F) => number | Promise<number>,
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
    checksum: checksumSizes(files, sizeOf),
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
  imageConverter([1, 1, depth], { ...options, channels }) // checks the options before any file is read
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
  if (!first) throw new OnnxIreError('invalid-data', 'a batch must have at least one image')
  const data = new Float32Array(images.length * first.data.length)
  for (const [i, { dims, data: own }] of images.entries()) {
    if (dims.some((dim, axis) => dim !== first.dims[axis]))
      throw new OnnxIreError(
        'invalid-data',
        `${name(0)} is [${first.dims.join(', ')}] and ${name(i)} is [${dims.join(', ')}]; set image.size to resize all images`,
      )
    data.set(own, i * first.data.length)
  }
  return { dtype: 'float32', dims: [images.length, ...first.dims], data }
}
