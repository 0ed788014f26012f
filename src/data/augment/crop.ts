import { checkNames, checkNumber, count, invalidOption, positiveCount } from '../../util/check.js'
import { type Augmentation, centre, type Fill, type Picture, part, type Size, sides } from './picture.js'

/** Options of `randomCrop`. */
export interface RandomCropOptions {
  /** Pixels put on every side before. Default 4, the usual of CIFAR. */
  readonly padding?: number | undefined
  /** What is put there: a pixel value from 0 to 255, the mean, or the image mirrored at its border. Default 0. */
  readonly fill?: Fill | 'reflect' | undefined
  /** Rows and columns of the part. Default: those of the image. */
  readonly size?: Size | undefined
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
  if (size !== undefined) for (const side of sides(size)) checkNumber(owner, 'size', side, positiveCount)
  const target = (picture: Picture) => {
    const [rows, columns] = size === undefined ? [picture.rows, picture.columns] : sides(size)
    if (rows <= picture.rows && columns <= picture.columns) return [rows, columns] as const
    throw invalidOption(
      owner,
      'size',
      `[${rows}, ${columns}]`,
      `within the image, [${picture.rows}, ${picture.columns}]`,
    )
  }
  return {
    draw(picture, random) {
      const [rows, columns] = target(picture)
      const top = random.integer(picture.rows + 2 * padding - rows + 1) - padding
      const left = random.integer(picture.columns + 2 * padding - columns + 1) - padding
      if (fill !== 'reflect') return part(picture, top, left, rows, columns, fill)
      if (padding >= Math.min(picture.rows, picture.columns))
        throw invalidOption(owner, 'padding', padding, "less than the image's sides, to be mirrored from them")
      return mirrored(picture, top, left, rows, columns)
    },
    still: (picture) => (size === undefined ? picture : centre(picture, ...target(picture))),
  }
}

/** As `part`; beyond the border come the pixels before it, the border itself not repeated: 2 1 | 0 1 2 ... */
function mirrored(picture: Picture, top: number, left: number, rows: number, columns: number): Picture {
  const data = new Float32Array(picture.channels * rows * columns)
  const within = (at: number, size: number) => (at < 0 ? -at : at < size ? at : 2 * (size - 1) - at)
  for (let c = 0, i = 0; c < picture.channels; c++)
    for (let y = 0; y < rows; y++) {
      const line = (c * picture.rows + within(top + y, picture.rows)) * picture.columns
      for (let x = 0; x < columns; x++) data[i++] = picture.data[line + within(left + x, picture.columns)]!
    }
  return { ...picture, rows, columns, data }
}
