import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import type { Augmentation } from './float-image.js'

/** Options of `cutout`. */
export interface CutoutOptions {
  /** Pixels of a side: 16 for CIFAR-10 and 8 for CIFAR-100 in the paper. */
  readonly size: number
  /** Squares. Default 1. */
  readonly count?: number | undefined
}

/**
 * Cutout (DeVries and Taylor 2017): a square becomes the mean of the data set. Its centre is anywhere in the image, each
 * pixel equally likely, so that a part of the square may lie outside.
 * @throws 'invalid-option'
 */
export function cutout(options: CutoutOptions): Augmentation {
  checkNames('cutout', options, ['size', 'count'])
  const size = checkNumber('cutout', 'size', options.size, positiveCount)
  const count = checkNumber('cutout', 'count', options.count ?? 1, positiveCount)
  return {
    apply(picture, random) {
      const { channels, rows, columns, mean } = picture
      const data = picture.data.slice()
      for (let square = 0; square < count; square++) {
        const [top, left] = [random.integer(rows) - (size >> 1), random.integer(columns) - (size >> 1)]
        const [from, to] = [Math.max(0, left), Math.min(columns, left + size)]
        for (let c = 0; c < channels; c++)
          for (let y = Math.max(0, top); y < Math.min(rows, top + size); y++) {
            const line = (c * rows + y) * columns
            data.fill(mean[c]!, line + from, line + to)
          }
      }
      return { ...picture, data }
    },
  }
}
