import { checkNames, checkNumber, unit } from '../../util/check.js'
import type { Augmentation } from './float-image.js'

/**
 * Flips the image horizontally with a probability, by default 1/2.
 * @throws 'invalid-option'
 */
export function randomFlip(options: { readonly probability?: number | undefined } = {}): Augmentation {
  checkNames('randomFlip', options, ['probability'])
  const probability = checkNumber('randomFlip', 'probability', options.probability ?? 0.5, unit)
  return {
    apply(image, random) {
      if (random.uniform() >= probability) return image
      const { columns } = image
      const data = image.data.slice()
      for (let line = 0; line < data.length; line += columns) data.subarray(line, line + columns).reverse()
      return { ...image, data }
    },
  }
}
