import { checkNames, checkNumber, count, invalidOption, positiveCount, unit } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { bilinearTaps, fitSize } from '../image/bilinear.js'
import {
  type Augmentation,
  cropCenter,
  cropImage,
  type FloatImage,
  type ImageFill,
  type ImageSize,
  toRowsAndColumns,
} from './float-image.js'

/** Options of `randomCrop`. */
export interface RandomCropOptions {
  /** Padding on every side, in pixels. Default 4, common for CIFAR. */
  readonly padding?: number | undefined
  /** Fill of the padding: a pixel value from 0 to 255, the mean, or the image mirrored at its border. Default 0. */
  readonly fill?: ImageFill | 'reflect' | undefined
  /** Rows and columns of the crop. Default: the size of the image. */
  readonly size?: ImageSize | undefined
}

/**
 * Crops the padded image at a random position, all equally likely (torchvision's RandomCrop); in evaluation at the
 * center.
 * @throws OnnxIreError `invalid-option`, also for a crop larger than the image
 */
export function randomCrop(options: RandomCropOptions = {}): Augmentation {
  const owner = 'randomCrop'
  checkNames(owner, options, ['padding', 'fill', 'size'])
  const { fill = 0, size } = options
  const padding = checkNumber(owner, 'padding', options.padding ?? 4, count)
  if (typeof fill === 'number') checkNumber(owner, 'fill', fill, { min: 0, max: 255 })
  else if (fill !== 'mean' && fill !== 'reflect')
    throw invalidOption(owner, 'fill', fill, "a pixel value, 'mean' or 'reflect'")
  if (size !== undefined) for (const side of toRowsAndColumns(size)) checkNumber(owner, 'size', side, positiveCount)
  const target = (image: FloatImage) => {
    const [rows, columns] = size === undefined ? [image.rows, image.columns] : toRowsAndColumns(size)
    if (rows <= image.rows && columns <= image.columns) return [rows, columns] as const
    throw invalidOption(
      owner,
      'size',
      `[${rows}, ${columns}]`,
      `at most the size of the image, [${image.rows}, ${image.columns}]`,
    )
  }
  const crop = (image: FloatImage, random: Random, fill: ImageFill | 'reflect'): FloatImage => {
    const [rows, columns] = target(image)
    const top = random.integer(image.rows + 2 * padding - rows + 1) - padding
    const left = random.integer(image.columns + 2 * padding - columns + 1) - padding
    if (fill !== 'reflect') return cropImage(image, top, left, rows, columns, fill)
    if (padding >= Math.min(image.rows, image.columns))
      throw invalidOption(owner, 'padding', padding, "less than the image's rows and columns, to mirror the image")
    return cropMirrored(image, top, left, rows, columns)
  }
  const cropInEvaluation = (image: FloatImage) => (size === undefined ? image : cropCenter(image, ...target(image)))
  return {
    apply: (image, random) => crop(image, random, fill),
    applyInEvaluation: cropInEvaluation,
    mask: {
      apply: (mask, random, outside) => crop(mask, random, fill === 'reflect' ? fill : outside),
      applyInEvaluation: cropInEvaluation,
    },
  }
}

/** Crops an image like `cropImage`, mirrored beyond the border without repeating the border itself: 2 1 | 0 1 2 ... */
function cropMirrored(image: FloatImage, top: number, left: number, rows: number, columns: number): FloatImage {
  const data = new Float32Array(image.channels * rows * columns)
  const within = (at: number, size: number) => (at < 0 ? -at : at < size ? at : 2 * (size - 1) - at)
  for (let c = 0, i = 0; c < image.channels; c++)
    for (let y = 0; y < rows; y++) {
      const line = (c * image.rows + within(top + y, image.rows)) * image.columns
      for (let x = 0; x < columns; x++) data[i++] = image.data[line + within(left + x, image.columns)]!
    }
  return { ...image, rows, columns, data }
}

/** Options of `randomResizedCrop`. */
export interface RandomResizedCropOptions {
  /** Rows and columns of the result. */
  readonly size: ImageSize
  /** Bounds of the crop's share of the area. Default [0.08, 1]. */
  readonly scale?: readonly [least: number, most: number] | undefined
  /** Bounds of the crop's width / height. Default [3/4, 4/3]. */
  readonly ratio?: readonly [least: number, most: number] | undefined
}

/**
 * Crops a random part of the image and resizes it (Szegedy et al. 2015; torchvision's RandomResizedCrop). Its share of
 * the area and the logarithm of its width / height are uniform; resizing is bilinear, as in `imageColumn`. In
 * evaluation, crops the center, of the enlarged image if the image is smaller.
 * @throws OnnxIreError `invalid-option`
 */
export function randomResizedCrop(options: RandomResizedCropOptions): Augmentation {
  const owner = 'randomResizedCrop'
  checkNames(owner, options, ['size', 'scale', 'ratio'])
  const [rows, columns] = toRowsAndColumns(options.size)
  for (const side of [rows, columns]) checkNumber(owner, 'size', side, positiveCount)
  const scale = checkBounds(owner, 'scale', options.scale ?? [0.08, 1], 1)
  const ratio = checkBounds(owner, 'ratio', options.ratio ?? [3 / 4, 4 / 3], Number.MAX_VALUE)
  const cropWith = (resize: typeof resizeBilinear) => ({
    apply(image: FloatImage, random: Random) {
      const [top, left, height, width] = randomPart(image, scale, ratio, random)
      return resize(cropImage(image, top, left, height, width, 0), rows, columns)
    },
    applyInEvaluation(image: FloatImage) {
      if (image.rows >= rows && image.columns >= columns) return cropCenter(image, rows, columns)
      const larger = resize(image, ...fitSize([image.rows, image.columns], [rows, columns], 'cover'))
      return cropCenter(larger, rows, columns)
    },
  })
  return { ...cropWith(resizeBilinear), mask: cropWith(resizeNearest) }
}

/** Resizes by the nearest pixel, as `resizeBilinear` places them. */
function resizeNearest(image: FloatImage, rows: number, columns: number): FloatImage {
  const data = new Float32Array(image.channels * rows * columns)
  const at = (t: number, source: number, target: number) =>
    Math.min(source - 1, Math.floor(((t + 0.5) * source) / target))
  for (let c = 0, i = 0; c < image.channels; c++)
    for (let y = 0; y < rows; y++) {
      const line = (c * image.rows + at(y, image.rows, rows)) * image.columns
      for (let x = 0; x < columns; x++) data[i++] = image.data[line + at(x, image.columns, columns)]!
    }
  return { ...image, rows, columns, data }
}

type Bounds = readonly [least: number, most: number]

/**
 * Samples a part within the image in up to ten attempts; then falls back to the center, as large as the ratios allow.
 */
function randomPart({ rows, columns }: FloatImage, scale: Bounds, ratio: Bounds, random: Random) {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = rows * columns * uniformBetween(scale[0], scale[1], random)
    const aspect = Math.exp(uniformBetween(Math.log(ratio[0]), Math.log(ratio[1]), random))
    const [height, width] = [Math.round(Math.sqrt(area / aspect)), Math.round(Math.sqrt(area * aspect))]
    if (height > 0 && width > 0 && height <= rows && width <= columns)
      return [random.integer(rows - height + 1), random.integer(columns - width + 1), height, width] as const
  }
  const aspect = Math.min(Math.max(columns / rows, ratio[0]), ratio[1])
  const width = Math.max(1, Math.min(columns, Math.round(rows * aspect)))
  const height = Math.max(1, Math.min(rows, Math.round(columns / aspect)))
  return [(rows - height) >> 1, (columns - width) >> 1, height, width] as const
}

const uniformBetween = (least: number, most: number, random: Random) => least + (most - least) * random.uniform()

function checkBounds(owner: string, name: string, [least, most]: Bounds, max: number): Bounds {
  if (least > 0 && least <= most && most <= max) return [least, most]
  throw invalidOption(
    owner,
    name,
    `[${least}, ${most}]`,
    `two ascending numbers in (0, ${max === 1 ? '1]' : 'infinity)'}`,
  )
}

function resizeBilinear(image: FloatImage, rows: number, columns: number): FloatImage {
  const [down, across] = [bilinearTaps(image.rows, rows, rows), bilinearTaps(image.columns, columns, columns)]
  const data = new Float32Array(image.channels * rows * columns)
  for (let c = 0, i = 0; c < image.channels; c++)
    for (let y = 0; y < rows; y++) {
      const above = (c * image.rows + down.low[y]!) * image.columns
      const below = (c * image.rows + down.high[y]!) * image.columns
      const f = down.fraction[y]!
      const at = (x: number) => image.data[above + x]! * (1 - f) + image.data[below + x]! * f
      for (let x = 0; x < columns; x++) {
        const g = across.fraction[x]!
        data[i++] = at(across.low[x]!) * (1 - g) + at(across.high[x]!) * g
      }
    }
  return { ...image, rows, columns, data }
}

/**
 * Flips the image horizontally with a probability, by default 1/2.
 * @throws OnnxIreError `invalid-option`
 */
export function randomFlip(options: { readonly probability?: number | undefined } = {}): Augmentation {
  checkNames('randomFlip', options, ['probability'])
  const probability = checkNumber('randomFlip', 'probability', options.probability ?? 0.5, unit)
  const apply = (image: FloatImage, random: Random): FloatImage => {
    if (random.uniform() >= probability) return image
    const { columns } = image
    const data = image.data.slice()
    for (let line = 0; line < data.length; line += columns) data.subarray(line, line + columns).reverse()
    return { ...image, data }
  }
  return { apply, mask: { apply, fitsAnySize: true } }
}

/** Options of `cutout`. */
export interface CutoutOptions {
  /** Side of the square in pixels; the paper uses 16 for CIFAR-10 and 8 for CIFAR-100. */
  readonly size: number
  /** Number of squares. Default 1. */
  readonly count?: number | undefined
}

/**
 * Cutout (DeVries and Taylor 2017): replaces a random square by the mean of the data set. Its center is a random pixel,
 * all equally likely, so that part of the square may be outside the image.
 * @throws OnnxIreError `invalid-option`
 */
export function cutout(options: CutoutOptions): Augmentation {
  checkNames('cutout', options, ['size', 'count'])
  const size = checkNumber('cutout', 'size', options.size, positiveCount)
  const count = checkNumber('cutout', 'count', options.count ?? 1, positiveCount)
  return {
    apply(image, random) {
      const { channels, rows, columns, mean } = image
      const data = image.data.slice()
      for (let square = 0; square < count; square++) {
        const [top, left] = [random.integer(rows) - (size >> 1), random.integer(columns) - (size >> 1)]
        const [from, to] = [Math.max(0, left), Math.min(columns, left + size)]
        for (let c = 0; c < channels; c++)
          for (let y = Math.max(0, top); y < Math.min(rows, top + size); y++) {
            const line = (c * rows + y) * columns
            data.fill(mean[c]!, line + from, line + to)
          }
      }
      return { ...image, data }
    },
    mask: 'unchanged',
  }
}
