import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { autoContrast, brightness, contrast, equalize, posterize, saturation, sharpness, solarize } from './color.js'
import type { Augmentation, FloatImage } from './float-image.js'
import { roundHalfEven } from './float-image.js'
import { rotate, shearX, shearY, translate } from './geometry.js'

/** Options of `randAugment`. */
export interface RandAugmentOptions {
  /** Operations per image. Default 2. */
  readonly operations?: number | undefined
  /** How strong they are, from 0 up to but without `bins`. Default 9. */
  readonly magnitude?: number | undefined
  /** Steps between none and the strongest. Default 31. */
  readonly bins?: number | undefined
}

interface Operation {
  readonly name: string
  /** Whether the strength goes to either side, which is then drawn. */
  readonly signed?: true
  /** @param m the strength in [0, 1], or [-1, 1] where it is signed */
  apply(picture: FloatImage, m: number): FloatImage
}

/** The 14 of torchvision's RandAugment, each with its strongest form. */
export const randAugmentOperations: readonly Operation[] = [
  { name: 'Identity', apply: (picture) => picture },
  { name: 'ShearX', signed: true, apply: (picture, m) => shearX(picture, 0.3 * m) },
  { name: 'ShearY', signed: true, apply: (picture, m) => shearY(picture, 0.3 * m) },
  { name: 'TranslateX', signed: true, apply: (picture, m) => translate(picture, (150 / 331) * picture.columns * m, 0) },
  { name: 'TranslateY', signed: true, apply: (picture, m) => translate(picture, 0, (150 / 331) * picture.rows * m) },
  { name: 'Rotate', signed: true, apply: (picture, m) => rotate(picture, 30 * m) },
  { name: 'Brightness', signed: true, apply: (picture, m) => brightness(picture, 1 + 0.9 * m) },
  { name: 'Color', signed: true, apply: (picture, m) => saturation(picture, 1 + 0.9 * m) },
  { name: 'Contrast', signed: true, apply: (picture, m) => contrast(picture, 1 + 0.9 * m) },
  { name: 'Sharpness', signed: true, apply: (picture, m) => sharpness(picture, 1 + 0.9 * m) },
  { name: 'Posterize', apply: (picture, m) => posterize(picture, 8 - roundHalfEven(4 * m)) },
  { name: 'Solarize', apply: (picture, m) => solarize(picture, 255 * (1 - m)) },
  { name: 'AutoContrast', apply: autoContrast },
  { name: 'Equalize', apply: equalize },
]

/**
 * RandAugment (Cubuk et al. 2020) as torchvision defines it: operations drawn one after the other from 14, all equally
 * strong, m = magnitude / (bins - 1); those that go either way do so with probability 1/2. Pixels are rounded to bytes first;
 * what comes into view is black, pixels are the nearest ones.
 * @throws 'invalid-option'; 'invalid-data' for images that are neither grey nor RGB
 */
export function randAugment(options: RandAugmentOptions = {}): Augmentation {
  const owner = 'randAugment'
  checkNames(owner, options, ['operations', 'magnitude', 'bins'])
  const operations = checkNumber(owner, 'operations', options.operations ?? 2, positiveCount)
  const bins = checkNumber(owner, 'bins', options.bins ?? 31, { min: 2, max: 2 ** 20, integer: true })
  const magnitude = checkNumber(owner, 'magnitude', options.magnitude ?? 9, { min: 0, max: bins - 1, integer: true })
  const strength = magnitude / (bins - 1)
  return {
    apply(picture, random) {
      if (picture.channels !== 1 && picture.channels !== 3)
        throw new OnnxIreError('invalid-data', `randAugment: images have ${picture.channels} channels; it takes 1 or 3`)
      let made: FloatImage = {
        ...picture,
        data: picture.data.map((value) => Math.round(Math.min(255, Math.max(0, value)))),
      }
      for (let i = 0; i < operations; i++) {
        const operation = randAugmentOperations[random.integer(randAugmentOperations.length)]!
        made = operation.apply(made, operation.signed ? strength * random.sign() : strength)
      }
      return made
    },
  }
}
