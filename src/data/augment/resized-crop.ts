import { checkNames, checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { fitted, taps } from '../taps.js'
import { type Augmentation, centre, type Picture, part, type Size, sides } from './picture.js'

/** Options of `randomResizedCrop`. */
export interface RandomResizedCropOptions {
  /** Rows and columns of the result. */
  readonly size: Size
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
  const [rows, columns] = sides(options.size)
  for (const side of [rows, columns]) checkNumber(owner, 'size', side, positiveCount)
  const scale = bounds(owner, 'scale', options.scale ?? [0.08, 1], 1)
  const ratio = bounds(owner, 'ratio', options.ratio ?? [3 / 4, 4 / 3], Number.MAX_VALUE)
  return {
    draw(picture, random) {
      const [top, left, height, width] = partOf(picture, scale, ratio, random)
      return resized(part(picture, top, left, height, width, 0), rows, columns)
    },
    still(picture) {
      if (picture.rows >= rows && picture.columns >= columns) return centre(picture, rows, columns)
      return centre(
        resized(picture, ...fitted([picture.rows, picture.columns], [rows, columns], 'cover')),
        rows,
        columns,
      )
    },
  }
}

type Bounds = readonly [least: number, most: number]

/** Ten attempts at a part that lies within the picture, then the middle, as wide and as high as the ratios allow. */
function partOf({ rows, columns }: Picture, scale: Bounds, ratio: Bounds, random: Random) {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = rows * columns * between(scale[0], scale[1], random)
    const aspect = Math.exp(between(Math.log(ratio[0]), Math.log(ratio[1]), random))
    const [height, width] = [Math.round(Math.sqrt(area / aspect)), Math.round(Math.sqrt(area * aspect))]
    if (height > 0 && width > 0 && height <= rows && width <= columns)
      return [random.integer(rows - height + 1), random.integer(columns - width + 1), height, width] as const
  }
  const aspect = Math.min(Math.max(columns / rows, ratio[0]), ratio[1])
  const width = Math.max(1, Math.min(columns, Math.round(rows * aspect)))
  const height = Math.max(1, Math.min(rows, Math.round(columns / aspect)))
  return [(rows - height) >> 1, (columns - width) >> 1, height, width] as const
}

const between = (least: number, most: number, random: Random) => least + (most - least) * random.uniform()

function bounds(owner: string, name: string, [least, most]: Bounds, max: number): Bounds {
  if (least > 0 && least <= most && most <= max) return [least, most]
  throw invalidOption(
    owner,
    name,
    `[${least}, ${most}]`,
    `two numbers in order, in (0, ${max === 1 ? '1]' : 'infinity)'}`,
  )
}

function resized(picture: Picture, rows: number, columns: number): Picture {
  const [down, across] = [taps(picture.rows, rows, rows), taps(picture.columns, columns, columns)]
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
