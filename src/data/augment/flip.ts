import { checkNames, checkNumber, unit } from '../../util/check.js'
import type { Augmentation } from './float-image.js'

/** Left and right exchanged, with a probability of 1/2 unless said otherwise. @throws 'invalid-option' */
export function randomFlip(options: { readonly probability?: number | undefined } = {}): Augmentation {
  checkNames('randomFlip', options, ['probability'])
  const probability = checkNumber('randomFlip', 'probability', options.probability ?? 0.5, unit)
  return {
    apply(picture, random) {
      if (random.uniform() >= probability) return picture
      const { columns } = picture
      const data = picture.data.slice()
      for (let line = 0; line < data.length; line += columns) data.subarray(line, line + columns).reverse()
      return { ...picture, data }
    },
  }
}
