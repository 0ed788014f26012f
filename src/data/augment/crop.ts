import { checkNames, checkNumber, count, invalidOption, positiveCount } from '../../util/check.js'
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
  /** Pixels put on every side before. Default 4, the usual of CIFAR. */
  readonly padding?: number | undefined
  /** What is put there: a pixel value from 0 to 255, the mean, or the image mirrored at its border. Default 0. */
  readonly fill?: ImageFill | 'reflect' | undefined
  /** Rows and columns of the part. Default: those of the image. */
  readonly size?: ImageSize | undefined
}

/**
 * A random part of the padded image, every place equally likely (torchvision's RandomCrop). In evaluation, the middle.
 * @throws 'invalid-option', also for a part larger than the image
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
  const target = (picture: FloatImage) => {
    const [rows, columns] = size === undefined ? [picture.rows, picture.columns] : toRowsAndColumns(size)
    if (rows <= picture.rows && columns <= picture.columns) return [rows, columns] as const
    throw invalidOption(
      owner,
      'size',
      `[${rows}, ${columns}]`,
      `within the image, [${picture.rows}, ${picture.columns}]`,
    )
  }
  return {
    apply(picture, random) {
      const [rows, columns] = target(picture)
      const top = random.integer(picture.rows + 2 * padding - rows + 1) - padding
      const left = random.integer(picture.columns + 2 * padding - columns + 1) - padding
      if (fill !== 'reflect') return cropImage(picture, top, left, rows, columns, fill)
      if (padding >= Math.min(picture.rows, picture.columns))
        throw invalidOption(owner, 'padding', padding, "less than the image's sides, to be mirrored from them")
      return cropMirrored(picture, top, left, rows, columns)
    },
    applyInEvaluation: (picture) => (size === undefined ? picture : cropCenter(picture, ...target(picture))),
  }
}

/** As `part`; beyond the border come the pixels before it, the border itself not repeated: 2 1 | 0 1 2 ... */
function cropMirrored(picture: FloatImage, top: number, left: number, rows: number, columns: number): FloatImage {
  const data = new Float32Array(picture.channels * rows * columns)
  const within = (at: number, size: number) => (at < 0 ? -at : at < size ? at : 2 * (size - 1) - at)
  for (let c = 0, i = 0; c < picture.channels; c++)
    for (let y = 0; y < rows; y++) {
      const line = (c * picture.rows + within(top + y, picture.rows)) * picture.columns
      for (let x = 0; x < columns; x++) data[i++] = picture.data[line + within(left + x, picture.columns)]!
    }
  return { ...picture, rows, columns, data }
}

/** Options of `randomResizedCrop`. */
export interface RandomResizedCropOptions {
  /** Rows and columns of the result. */
  readonly size: ImageSize
  /** Bounds of the part's share of the area. Default [0.08, 1]. */
  readonly scale?: readonly [least: number, most: number] | undefined
  /** Bounds of width / height. Default [3/4, 4/3]. */
  readonly ratio?: readonly [least: number, most: number] | undefined
}

/**
 * A random part of the image, stretched to one size (Szegedy et al. 2015; torchvision's RandomResizedCrop): its share of the
 * area is uniform, the logarithm of its width / height too. Bilinear at half pixels, as `images` resizes. In evaluation, the
 * middle of that size, of an image that is enlarged first if it is smaller.
 * @throws 'invalid-option'
 */
export function randomResizedCrop(options: RandomResizedCropOptions): Augmentation {
  const owner = 'randomResizedCrop'
  checkNames(owner, options, ['size', 'scale', 'ratio'])
  const [rows, columns] = toRowsAndColumns(options.size)
  for (const side of [rows, columns]) checkNumber(owner, 'size', side, positiveCount)
  const scale = checkBounds(owner, 'scale', options.scale ?? [0.08, 1], 1)
  const ratio = checkBounds(owner, 'ratio', options.ratio ?? [3 / 4, 4 / 3], Number.MAX_VALUE)
  return {
    apply(picture, random) {
      const [top, left, height, width] = randomPart(picture, scale, ratio, random)
      return resizeBilinear(cropImage(picture, top, left, height, width, 0), rows, columns)
    },
    applyInEvaluation(picture) {
      if (picture.rows >= rows && picture.columns >= columns) return cropCenter(picture, rows, columns)
      return cropCenter(
        resizeBilinear(picture, ...fitSize([picture.rows, picture.columns], [rows, columns], 'cover')),
        rows,
        columns,
      )
    },
  }
}

type Bounds = readonly [least: number, most: number]

/** Ten attempts at a part that lies within the picture, then the middle, as wide and as high as the ratios allow. */
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
    `two numbers in order, in (0, ${max === 1 ? '1]' : 'infinity)'}`,
  )
}

function resizeBilinear(picture: FloatImage, rows: number, columns: number): FloatImage {
  const [down, across] = [bilinearTaps(picture.rows, rows, rows), bilinearTaps(picture.columns, columns, columns)]
  const data = new Float32Array(picture.channels * rows * columns)
  for (let c = 0, i = 0; c < picture.channels; c++)
    for (let y = 0; y < rows; y++) {
      const above = (c * picture.rows + down.low[y]!) * picture.columns
      const below = (c * picture.rows + down.high[y]!) * picture.columns
      const f = down.fraction[y]!
      const at = (x: number) => picture.data[above + x]! * (1 - f) + picture.data[below + x]! * f
      for (let x = 0; x < columns; x++) {
        const g = across.fraction[x]!
        data[i++] = at(across.low[x]!) * (1 - g) + at(across.high[x]!) * g
      }
    }
  return { ...picture, rows, columns, data }
}
