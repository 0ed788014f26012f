import type { AugmentImagesOptions } from '../../data/augment/augment-images.js'
import { augmentImages } from '../../data/augment/augment-images.js'
import type { AugmentationSpec } from '../../data/augment/named.js'
import type { Dataset } from '../../data/dataset.js'

/** A data set of images with what its source says is done to them in training. */
export const augmented = (
  data: Dataset,
  input: string,
  { augment, image }: { readonly augment?: readonly AugmentationSpec[] } & Pick<AugmentImagesOptions, 'image'>,
): Dataset => (augment === undefined ? data : augmentImages(data, { input, augmentations: augment, image }))
