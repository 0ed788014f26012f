import type { Random } from '../../util/random.js'
import { roundHalfToEven } from '../../util/round.js'

/** Image as float pixel values, channel by channel: data[c, y, x] from 0 (black) to 255, not necessarily integers. */
export interface FloatImage {
  readonly channels: number
  readonly rows: number
  readonly columns: number
  readonly data: Float32Array
  /** Mean of the data set per channel: the pixel value that is normalized to 0. */
  readonly mean: readonly number[]
}

/**
 * Augmentation of an image: a random change in training and, if it changes the size, a fixed counterpart in evaluation.
 */
export interface Augmentation {
  /** Changes an image in training, with random numbers from `random`. */
  apply(image: FloatImage, random: Random): FloatImage
  /** Changes an image in evaluation, a center crop for instance. Default: the image is unchanged. */
  applyInEvaluation?(image: FloatImage): FloatImage
  /**
   * The same change of a mask of labels, which must not be interpolated; 'unchanged' if pixels stay where they are.
   * Without it the augmentation cannot be used with masks.
   */
  readonly mask?: 'unchanged' | MaskAugmentation
}

/** Change of a mask: one channel of labels. @see Augmentation */
export interface MaskAugmentation {
  /**
   * Changes a mask in training, with the same random numbers as the image.
   * @param outside label of pixels outside the image
   */
  apply(mask: FloatImage, random: Random, outside: number): FloatImage
  /** Whether masks may have another size than their images. Default false. */
  readonly fitsAnySize?: boolean
  /** Changes a mask in evaluation. Default: it stays as it is. */
  applyInEvaluation?(mask: FloatImage, outside: number): FloatImage
}

/** Fill of an area outside the image: a pixel value for all channels, or the mean of the data set. */
export type ImageFill = number | 'mean'

/** Creates an image of another size filled with `fill`. */
export function createFilledImage(like: FloatImage, rows: number, columns: number, fill: ImageFill): FloatImage {
  const data = new Float32Array(like.channels * rows * columns)
  for (let c = 0; c < like.channels; c++)
    data.fill(fill === 'mean' ? like.mean[c]! : fill, c * rows * columns, (c + 1) * rows * columns)
  return { ...like, rows, columns, data }
}

/** Crops an image to size [rows, columns] from pixel [top, left]; the area outside the image is filled with `fill`. */
export function cropImage(
  image: FloatImage,
  top: number,
  left: number,
  rows: number,
  columns: number,
  fill: ImageFill,
): FloatImage {
  const out = createFilledImage(image, rows, columns, fill)
  const [from, to] = [Math.max(0, -left), Math.min(columns, image.columns - left)]
  if (to <= from) return out
  for (let c = 0; c < image.channels; c++)
    for (let y = Math.max(0, -top); y < Math.min(rows, image.rows - top); y++) {
      const line = (c * image.rows + top + y) * image.columns + left
      out.data.set(image.data.subarray(line + from, line + to), (c * rows + y) * columns + from)
    }
  return out
}

/** Crops the center of an image, at the position of torchvision's CenterCrop. */
export const cropCenter = (image: FloatImage, rows: number, columns: number, fill = 0): FloatImage =>
  cropImage(
    image,
    roundHalfToEven((image.rows - rows) / 2),
    roundHalfToEven((image.columns - columns) / 2),
    rows,
    columns,
    fill,
  )

/** Size of an image: one number for squares, or [rows, columns]. */
export type ImageSize = number | readonly [rows: number, columns: number]

/** Converts an image size to [rows, columns]. */
export const toRowsAndColumns = (size: ImageSize): readonly [rows: number, columns: number] =>
  typeof size === 'number' ? [size, size] : size
