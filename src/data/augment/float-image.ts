import type { Random } from '../../util/random.js'

/** One image, channel by channel: data[c, y, x] are pixel values from 0 (black) to 255, not necessarily whole. */
export interface FloatImage {
  readonly channels: number
  readonly rows: number
  readonly columns: number
  readonly data: Float32Array
  /** Per channel, the pixel value that normalises to 0: the mean of the data set. */
  readonly mean: readonly number[]
}

/** What is done to an image: something drawn at random in training and, where the size is to change, its like in evaluation. */
export interface Augmentation {
  /** The picture as it is seen in training. */
  apply(picture: FloatImage, random: Random): FloatImage
  /** As it is seen in evaluation, where that is another one: cropped, say. */
  applyInEvaluation?(picture: FloatImage): FloatImage
}

/** What is put where an image has no pixels: a pixel value for all channels, or the mean of the data set. */
export type ImageFill = number | 'mean'

/** A picture of another size whose every pixel is `fill`. */
export function createFilledImage(like: FloatImage, rows: number, columns: number, fill: ImageFill): FloatImage {
  const data = new Float32Array(like.channels * rows * columns)
  for (let c = 0; c < like.channels; c++)
    data.fill(fill === 'mean' ? like.mean[c]! : fill, c * rows * columns, (c + 1) * rows * columns)
  return { ...like, rows, columns, data }
}

/** The part of size [rows, columns] whose first pixel is at [top, left]; outside of the picture it is `fill`. */
export function cropImage(
  picture: FloatImage,
  top: number,
  left: number,
  rows: number,
  columns: number,
  fill: ImageFill,
): FloatImage {
  const out = createFilledImage(picture, rows, columns, fill)
  const [from, to] = [Math.max(0, -left), Math.min(columns, picture.columns - left)]
  if (to <= from) return out
  for (let c = 0; c < picture.channels; c++)
    for (let y = Math.max(0, -top); y < Math.min(rows, picture.rows - top); y++) {
      const line = (c * picture.rows + top + y) * picture.columns + left
      out.data.set(picture.data.subarray(line + from, line + to), (c * rows + y) * columns + from)
    }
  return out
}

/** The middle of a picture, where torchvision's CenterCrop finds it. */
export const cropCenter = (picture: FloatImage, rows: number, columns: number): FloatImage =>
  cropImage(
    picture,
    roundHalfEven((picture.rows - rows) / 2),
    roundHalfEven((picture.columns - columns) / 2),
    rows,
    columns,
    0,
  )

/** One number for squares, or [rows, columns]. */
export type ImageSize = number | readonly [rows: number, columns: number]

export const toRowsAndColumns = (size: ImageSize): readonly [rows: number, columns: number] =>
  typeof size === 'number' ? [size, size] : size

/** To the nearest integer; a half goes to the even one, as in IEEE 754 and Python. */
export function roundHalfEven(x: number): number {
  const rounded = Math.round(x)
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}
