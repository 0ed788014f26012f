import type { Tensor } from '../../ir/tensor.js'
import { checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Random } from '../../util/random.js'
import { getOwn } from '../../util/record.js'
import type { ImageOptions } from '../image/image-column.js'
import type { DatasetOrStream } from '../stream.js'
import { mapBatches, type TransformedData } from '../transform.js'
import type { Augmentation, FloatImage } from './float-image.js'
import { type AugmentationSpec, createAugmentation } from './registry.js'

/** Options of `augmentImages`. */
export interface AugmentImagesOptions {
  /** Name of the image tensor. */
  readonly input: string
  /** Augmentations, applied in order. */
  readonly augmentations: readonly (Augmentation | AugmentationSpec)[]
  /** Normalization of the images, as given to `imageColumn`; augmentations receive pixel values. */
  readonly image?: Pick<ImageOptions, 'scale' | 'mean' | 'std' | 'layout'> | undefined
}

/**
 * Augments the images of a data set in training: float32 [n, C, rows, columns] (or NHWC) are converted back to pixel
 * values, augmented, and normalized again. Random numbers come from the batch's `context.random`. In evaluation images
 * are unchanged, except by augmentations that change the size.
 * @throws 'invalid-option'; when a batch is loaded, 'invalid-data' for a tensor that does not hold images
 * @example
 * ```ts
 * const image = { mean: [0.491, 0.482, 0.447], std: [0.247, 0.243, 0.262] }
 * const train = augmentImages(fromArrays({ x: imageColumn(pixels, image), label }), {
 *   input: 'x', image, augmentations: [randomCrop({ padding: 4 }), randomFlip(), cutout({ size: 16 })],
 * })
 * ```
 */
export function augmentImages<D extends DatasetOrStream>(data: D, options: AugmentImagesOptions): TransformedData<D> {
  checkNames('augmentImages', options, ['input', 'augmentations', 'image'])
  const { input, image = {} } = options
  const augmentations = options.augmentations.map((each) => ('kind' in each ? createAugmentation(each) : each))
  const settings = checkNormalization(image)
  const changesSize = augmentations.some(({ applyInEvaluation }) => applyInEvaluation)
  return mapBatches(data, (batch, { random }) => {
    const tensor = getOwn(batch, input)
    if (!tensor) throw new OnnxIreError('invalid-data', `augmentImages: there is no tensor '${input}'`)
    if (!random && !changesSize) return batch
    return { ...batch, [input]: augmentTensor(tensor, input, augmentations, settings, random) }
  })
}

type Settings = ReturnType<typeof checkNormalization>

function checkNormalization(image: NonNullable<AugmentImagesOptions['image']>) {
  const owner = 'augmentImages'
  const { scale = 1 / 255, mean = 0, std = 1, layout = 'NCHW' } = image
  const real = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE }
  for (const [name, value] of [['scale', scale] as const, ...[std].flat().map((each) => ['std', each] as const)])
    if (checkNumber(owner, name, value, real) === 0) throw invalidOption(owner, name, value, 'a number other than 0')
  for (const each of [mean].flat()) checkNumber(owner, 'mean', each, real)
  if (layout !== 'NCHW' && layout !== 'NHWC') throw invalidOption(owner, 'layout', layout, "'NCHW' or 'NHWC'")
  return { scale, mean, std, layout }
}

function augmentTensor(
  { dtype, dims, data }: Tensor,
  name: string,
  augmentations: readonly Augmentation[],
  { scale, mean, std, layout }: Settings,
  random: Random | undefined,
): Tensor {
  if (dtype !== 'float32' || dims.length !== 4 || !(data instanceof Float32Array))
    throw new OnnxIreError(
      'invalid-data',
      `augmentImages: '${name}' is ${dtype} [${dims.join(', ')}]; images are float32 of rank 4`,
    )
  const planar = layout === 'NCHW'
  const [n = 0, ...rest] = dims
  const [channels, rows, columns] = planar ? rest : [rest[2], rest[0], rest[1]]
  const perChannel = (option: string, value: number | readonly number[]) => {
    const values = typeof value === 'number' ? Array.from({ length: channels! }, () => value) : value
    if (values.length === channels) return values
    throw invalidOption('augmentImages', option, values, `one number, or one per channel: ${channels}`)
  }
  const [means, stds] = [perChannel('mean', mean), perChannel('std', std)]
  // pixel = (x std + mean) / scale
  const template = { channels: channels!, rows: rows!, columns: columns!, mean: means.map((each) => each / scale) }
  const size = channels! * rows! * columns!
  const results: FloatImage[] = []
  for (let i = 0; i < n; i++) {
    const own = data.subarray(i * size, (i + 1) * size)
    const pixels = new Float32Array(size)
    for (let c = 0, to = 0; c < channels!; c++)
      for (let p = 0; p < rows! * columns!; p++, to++)
        pixels[to] = (own[planar ? to : p * channels! + c]! * stds[c]! + means[c]!) / scale
    let image: FloatImage = { ...template, data: pixels }
    for (const { apply, applyInEvaluation } of augmentations)
      image = random ? apply(image, random) : (applyInEvaluation?.(image) ?? image)
    results.push(image)
  }
  return normalizeImages(results, name, means, stds, scale, planar)
}

/** Normalizes images to a batch, x = (scale pixel - mean) / std. */
function normalizeImages(
  images: readonly FloatImage[],
  name: string,
  means: readonly number[],
  stds: readonly number[],
  scale: number,
  planar: boolean,
): Tensor {
  const { channels = 0, rows = 0, columns = 0 } = images[0] ?? {}
  const plane = rows * columns
  const data = new Float32Array(images.length * channels * plane)
  for (const [i, image] of images.entries()) {
    if (image.rows !== rows || image.columns !== columns)
      throw new OnnxIreError(
        'invalid-data',
        `augmentImages: images of '${name}' have different sizes after augmentation, [${rows}, ${columns}] and [${image.rows}, ${image.columns}]`,
      )
    for (let c = 0, from = 0; c < channels; c++)
      for (let p = 0; p < plane; p++, from++)
        data[i * channels * plane + (planar ? from : p * channels + c)] =
          (scale * image.data[from]! - means[c]!) / stds[c]!
  }
  const dims = planar ? [channels, rows, columns] : [rows, columns, channels]
  return { dtype: 'float32', dims: [images.length, ...dims], data }
}
