import { invalidOption } from '../../util/check.js'
import type { Augmentation } from './float-image.js'
import { type RandAugmentOptions, randAugment } from './rand-augment.js'
import {
  type CutoutOptions,
  cutout,
  type RandomCropOptions,
  type RandomResizedCropOptions,
  randomCrop,
  randomFlip,
  randomResizedCrop,
} from './spatial.js'

/** Augmentation as plain data, for recipes. */
export type AugmentationSpec =
  | ({ readonly kind: 'crop' } & RandomCropOptions)
  | { readonly kind: 'flip'; readonly probability?: number | undefined }
  | ({ readonly kind: 'cutout' } & CutoutOptions)
  | ({ readonly kind: 'resized-crop' } & RandomResizedCropOptions)
  | ({ readonly kind: 'rand-augment' } & RandAugmentOptions)

/**
 * Creates an augmentation from plain data.
 * @throws OnnxIreError `invalid-option`
 * @example
 * ```ts
 * createAugmentation({ kind: 'crop', padding: 4 })
 * ```
 */
export function createAugmentation(spec: AugmentationSpec): Augmentation {
  switch (spec.kind) {
    case 'crop': {
      const { kind: _, ...options } = spec
      return randomCrop(options)
    }
    case 'flip': {
      const { kind: _, ...options } = spec
      return randomFlip(options)
    }
    case 'cutout': {
      const { kind: _, ...options } = spec
      return cutout(options)
    }
    case 'resized-crop': {
      const { kind: _, ...options } = spec
      return randomResizedCrop(options)
    }
    case 'rand-augment': {
      const { kind: _, ...options } = spec
      return randAugment(options)
    }
    default: {
      const { kind }: { readonly kind: unknown } = spec
      throw invalidOption('augmentation', 'kind', kind, "'crop', 'flip', 'cutout', 'resized-crop' or 'rand-augment'")
    }
  }
}
