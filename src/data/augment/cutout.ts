import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import type { Augmentation } from './float-image.js'

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
 * @throws 'invalid-option'
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
  }
}
