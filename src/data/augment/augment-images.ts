import { tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random, type RandomState } from '../../util/random.js'
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
  readonly image?: Pick<ImageOptions, 'scale' | 'mean' | 'std' | 'layout' | 'order'> | undefined
  /**
   * Masks that are changed together with the images. Crops and flips move both; other augmentations leave masks
   * unchanged or are refused. Default: none.
   */
  readonly masks?: AugmentedMasksOptions | undefined
}

/** Masks that `augmentImages` changes. */
export interface AugmentedMasksOptions {
  /** Name of the tensor of the masks, as `imageMasks` gives them. */
  readonly tensor: string
  /** Label of pixels outside the image. Default 0. */
  readonly outside?: number | undefined
}

/**
 * Augments the images of a data set in training: float32 [n, C, rows, columns] (or NHWC) are converted back to pixel
 * values, augmented, and normalized again. Random numbers come from the batch's `context.random`. In evaluation images
 * are unchanged, except by augmentations that change the size.
 * @throws OnnxIreError `invalid-option`; when a batch is loaded, `invalid-data` for a tensor that does not hold images
 * @example
 * ```ts
 * const image = { mean: [0.491, 0.482, 0.447], std: [0.247, 0.243, 0.262] }
 * const train = augmentImages(fromArrays({ x: imageColumn(pixels, image), label }), {
 *   input: 'x', image, augmentations: [randomCrop({ padding: 4 }), randomFlip(), cutout({ size: 16 })],
 * })
 * ```
 */
export function augmentImages<D extends DatasetOrStream>(data: D, options: AugmentImagesOptions): TransformedData<D> {
  checkNames('augmentImages', options, ['input', 'augmentations', 'image', 'masks'])
  const { input, image = {}, masks } = options
  const augmentations = options.augmentations.map((each) => ('kind' in each ? createAugmentation(each) : each))
  const settings = checkNormalization(image)
  const changesSize = augmentations.some(({ applyInEvaluation }) => applyInEvaluation)
  if (masks) checkNames('augmentImages: masks', masks, ['tensor', 'outside'])
  const refused = masks && augmentations.findIndex((each) => each.mask === undefined)
  if (refused !== undefined && refused >= 0)
    throw invalidOption(
      'augmentImages',
      'augmentations',
      JSON.stringify(options.augmentations[refused]),
      'crops, flips or cutout if there are masks: others have no counterpart for masks',
    )
  return mapBatches(data, (batch, { random }) => {
    const tensorOf = (name: string) => {
      const tensor = getOwn(batch, name)
      if (tensor) return tensor
      throw new OnnxIreError('invalid-data', `augmentImages: there is no tensor '${name}'`)
    }
    const tensor = tensorOf(input)
    const mask = masks && tensorOf(masks.tensor)
    if (!random && !changesSize) return batch
    if (!masks || !mask) return { ...batch, [input]: augmentTensor(tensor, input, augmentations, settings, random) }
    const sides = image.layout === 'NHWC' ? tensor.dims.slice(1, 3) : tensor.dims.slice(2)
    const chosen = recordRandom(augmentations)
    const images = augmentTensor(tensor, input, chosen.augmentations, settings, random)
    return { ...batch, [input]: images, [masks.tensor]: augmentMasks(mask, masks, augmentations, chosen.states, sides) }
  })
}

/** Augmentations that record the states of the random numbers with which they are applied to each image. */
function recordRandom(augmentations: readonly Augmentation[]): {
  readonly augmentations: readonly Augmentation[]
  /** States in the order of the images, and of the augmentations of each; null in evaluation. */
  readonly states: (RandomState | null)[]
} {
  const states: (RandomState | null)[] = []
  return {
    states,
    augmentations: augmentations.map((each) => ({
      apply(image, random) {
        states.push(random.state())
        return each.apply(image, random)
      },
      applyInEvaluation(image) {
        states.push(null)
        return each.applyInEvaluation?.(image) ?? image
      },
    })),
  }
}

/** Changes masks as the images were changed: int64 [n, rows, columns], or float32 with an axis of one channel. */
function augmentMasks(
  { dtype, dims, data }: Tensor,
  { tensor: name, outside = 0 }: AugmentedMasksOptions,
  augmentations: readonly Augmentation[],
  states: readonly (RandomState | null)[],
  imageSides: readonly number[],
): Tensor {
  const isPlanar = dims.length === 3 || dims[1] === 1
  const [n = 0] = dims
  const [rows = 0, columns = 0] = dims.length === 3 ? dims.slice(1) : isPlanar ? dims.slice(2) : dims.slice(1)
  const size = rows * columns
  if (dims.length < 3 || dims.length > 4 || n * size !== data.length || (dtype !== 'int64' && dtype !== 'float32'))
    throw new OnnxIreError(
      'invalid-data',
      `augmentImages: '${name}' is ${dtype} [${dims.join(', ')}]; masks are int64 [n, rows, columns], or float32 with one channel`,
    )
  const isMoved = augmentations.some(({ mask }) => typeof mask === 'object' && !mask.fitsAnySize)
  if (isMoved && (rows !== imageSides[0] || columns !== imageSides[1]))
    throw new OnnxIreError(
      'invalid-data',
      `augmentImages: masks of '${name}' are [${rows}, ${columns}] and their images [${imageSides.join(', ')}]; resize them to the same size, which crops need`,
    )
  const numbers = Float32Array.from(data as ArrayLike<number | bigint>, Number)
  let at = 0
  const masks = Array.from({ length: n }, (_, i) => {
    let mask: FloatImage = {
      channels: 1,
      rows,
      columns,
      data: numbers.slice(i * size, (i + 1) * size),
      mean: [outside],
    }
    for (const { mask: change } of augmentations) {
      const state = states[at++]!
      if (change === undefined || change === 'unchanged') continue
      mask = state
        ? change.apply(mask, new Random(state), outside)
        : (change.applyInEvaluation?.(mask, outside) ?? mask)
    }
    return mask
  })
  const [first] = masks
  const sides = [first?.rows ?? rows, first?.columns ?? columns]
  const all = new Float32Array(n * sides[0]! * sides[1]!)
  for (const [i, mask] of masks.entries()) {
    if (mask.rows !== sides[0] || mask.columns !== sides[1])
      throw new OnnxIreError(
        'invalid-data',
        `augmentImages: masks of '${name}' have different sizes after augmentation`,
      )
    all.set(mask.data, i * mask.data.length)
  }
  const changed = dims.length === 3 ? [n, ...sides] : isPlanar ? [n, 1, ...sides] : [n, ...sides, 1]
  return tensorFrom(dtype, changed, all)
}

type Settings = ReturnType<typeof checkNormalization>

function checkNormalization(image: NonNullable<AugmentImagesOptions['image']>) {
  const owner = 'augmentImages'
  const { scale = 1 / 255, mean = 0, std = 1, layout = 'NCHW', order = 'RGB' } = image
  const real = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE }
  for (const [name, value] of [['scale', scale] as const, ...[std].flat().map((each) => ['std', each] as const)])
    if (checkNumber(owner, name, value, real) === 0) throw invalidOption(owner, name, value, 'a number other than 0')
  for (const each of [mean].flat()) checkNumber(owner, 'mean', each, real)
  if (layout !== 'NCHW' && layout !== 'NHWC') throw invalidOption(owner, 'layout', layout, "'NCHW' or 'NHWC'")
  return { scale, mean, std, layout, order }
}

function augmentTensor(
  { dtype, dims, data }: Tensor,
  name: string,
  augmentations: readonly Augmentation[],
  { scale, mean, std, layout, order }: Settings,
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
  // Augmentations take channels in the order RGB.
  const inOrder = <T>(values: readonly T[]) => (order === 'BGR' ? values.toReversed() : values)
  const places = inOrder(Array.from({ length: channels! }, (_, c) => c))
  const [means, stds] = [inOrder(perChannel('mean', mean)), inOrder(perChannel('std', std))]
  // pixel = (x std + mean) / scale
  const template = { channels: channels!, rows: rows!, columns: columns!, mean: means.map((each) => each / scale) }
  const size = channels! * rows! * columns!
  const results: FloatImage[] = []
  for (let i = 0; i < n; i++) {
    const own = data.subarray(i * size, (i + 1) * size)
    const pixels = new Float32Array(size)
    for (let c = 0, to = 0; c < channels!; c++) {
      const place = places[c]!
      for (let p = 0; p < rows! * columns!; p++, to++)
        pixels[to] =
          (own[planar ? place * rows! * columns! + p : p * channels! + place]! * stds[c]! + means[c]!) / scale
    }
    let image: FloatImage = { ...template, data: pixels }
    for (const { apply, applyInEvaluation } of augmentations)
      image = random ? apply(image, random) : (applyInEvaluation?.(image) ?? image)
    results.push(image)
  }
  return normalizeImages(results, name, { means, stds, places, scale, planar })
}

/** Normalization of the channels of an image, each with its place in the tensor. */
interface Normalization {
  readonly means: readonly number[]
  readonly stds: readonly number[]
  readonly places: readonly number[]
  readonly scale: number
  readonly planar: boolean
}

/** Normalizes images to a batch, x = (scale pixel - mean) / std. */
function normalizeImages(
  images: readonly FloatImage[],
  name: string,
  { means, stds, places, scale, planar }: Normalization,
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
    for (let c = 0, from = 0; c < channels; c++) {
      const place = places[c]!
      for (let p = 0; p < plane; p++, from++)
        data[i * channels * plane + (planar ? place * plane + p : p * channels + place)] =
          (scale * image.data[from]! - means[c]!) / stds[c]!
    }
  }
  const dims = planar ? [channels, rows, columns] : [rows, columns, channels]
  return { dtype: 'float32', dims: [images.length, ...dims], data }
}
