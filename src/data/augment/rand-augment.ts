import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { autoContrast, brightness, contrast, equalize, posterize, saturation, sharpness, solarize } from './color.js'
import type { Augmentation, FloatImage } from './float-image.js'
import { roundHalfEven } from './float-image.js'
import { rotate, shearX, shearY, translate } from './geometry.js'

/** Options of `randAugment`. */
export interface RandAugmentOptions {
  /** Number of operations per image. Default 2. */
  readonly operations?: number | undefined
  /** Strength of the operations, from 0 to `bins` - 1. Default 9. */
  readonly magnitude?: number | undefined
  /** Number of strengths. Default 31. */
  readonly bins?: number | undefined
}

/** Operation of RandAugment. */
interface Operation {
  readonly name: string
  /** Whether the strength gets a random sign. */
  readonly signed?: true
  /**
   * Changes an image.
   * @param m the strength in [0, 1], or in [-1, 1] for signed operations
   */
  apply(image: FloatImage, m: number): FloatImage
}

/** The 14 operations of torchvision's RandAugment, each with its maximum strength. */
export const randAugmentOperations: readonly Operation[] = [
  { name: 'Identity', apply: (image) => image },
  { name: 'ShearX', signed: true, apply: (image, m) => shearX(image, 0.3 * m) },
  { name: 'ShearY', signed: true, apply: (image, m) => shearY(image, 0.3 * m) },
  { name: 'TranslateX', signed: true, apply: (image, m) => translate(image, (150 / 331) * image.columns * m, 0) },
  { name: 'TranslateY', signed: true, apply: (image, m) => translate(image, 0, (150 / 331) * image.rows * m) },
  { name: 'Rotate', signed: true, apply: (image, m) => rotate(image, 30 * m) },
  { name: 'Brightness', signed: true, apply: (image, m) => brightness(image, 1 + 0.9 * m) },
  { name: 'Color', signed: true, apply: (image, m) => saturation(image, 1 + 0.9 * m) },
  { name: 'Contrast', signed: true, apply: (image, m) => contrast(image, 1 + 0.9 * m) },
  { name: 'Sharpness', signed: true, apply: (image, m) => sharpness(image, 1 + 0.9 * m) },
  { name: 'Posterize', apply: (image, m) => posterize(image, 8 - roundHalfEven(4 * m)) },
  { name: 'Solarize', apply: (image, m) => solarize(image, 255 * (1 - m)) },
  { name: 'AutoContrast', apply: autoContrast },
  { name: 'Equalize', apply: equalize },
]

/**
 * RandAugment (Cubuk et al. 2020) as defined by torchvision: random operations out of 14, applied one after the other,
 * all with the strength m = magnitude / (bins - 1), and a random sign for signed operations. Pixels are rounded to
 * bytes first; geometric operations use the nearest pixel and fill with black.
 * @throws 'invalid-option'; 'invalid-data' for images that are neither gray nor RGB
 */
export function randAugment(options: RandAugmentOptions = {}): Augmentation {
  const owner = 'randAugment'
  checkNames(owner, options, ['operations', 'magnitude', 'bins'])
  const operations = checkNumber(owner, 'operations', options.operations ?? 2, positiveCount)
  const bins = checkNumber(owner, 'bins', options.bins ?? 31, { min: 2, max: 2 ** 20, integer: true })
  const magnitude = checkNumber(owner, 'magnitude', options.magnitude ?? 9, { min: 0, max: bins - 1, integer: true })
  const strength = magnitude / (bins - 1)
  return {
    apply(image, random) {
      if (image.channels !== 1 && image.channels !== 3)
        throw new OnnxIreError(
          'invalid-data',
          `randAugment: images have ${image.channels} channels; they must have 1 or 3`,
        )
      let result: FloatImage = {
        ...image,
        data: image.data.map((value) => Math.round(Math.min(255, Math.max(0, value)))),
      }
      for (let i = 0; i < operations; i++) {
        const operation = randAugmentOperations[random.integer(randAugmentOperations.length)]!
        result = operation.apply(result, operation.signed ? strength * random.sign() : strength)
      }
      return result
    },
  }
}
