import { relative, sep } from 'node:path'
import { imageExtensions } from '../../data/image/image-files.js'
import {
  addMasks,
  checkMaskOptions,
  type ImageMasks,
  type ImageMasksOptions,
  pairFiles,
  readPalette,
  withoutTransparency,
} from '../../data/image/mask-files.js'
import { transform } from '../../data/transform.js'
import type { ImageMasksSource } from '../../recipe/sources/images.js'
import { readRegularFile } from '../files/files.js'
import { sizeOfFile } from './checksum-files.js'
import { augmentAndReshape, inferInput, inferTarget, type OpenContext, type OpenedSource } from './data-source.js'
import { decodeBytes } from './decode-image.js'
import { listFiles } from './folders.js'
import { imageFiles, openImages } from './image-folder.js'

/**
 * Opens images with masks for segmentation: two folders with files of the same names, photos/cat.jpg and masks/cat.png.
 * Masks are resized to the size of the images by the nearest pixel. Images without a mask are left out.
 *
 * ```ts
 * const data = await imageMasks('photos', 'masks', { image: { size: 256 } })
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` for a mask without an image and, when its batch is
 * read, a damaged file, a mask of 16 bits or a color that is no class
 */
export async function imageMasks(images: string, masks: string, options: ImageMasksOptions = {}): Promise<ImageMasks> {
  checkMaskOptions(options)
  const { image, input } = options
  const [photos, labels] = await Promise.all([listFiles(images, imageExtensions), listFiles(masks, imageExtensions)])
  const pathOf = (file: string, of: 'image' | 'mask') =>
    relative(of === 'image' ? images : masks, file)
      .split(sep)
      .join('/')
  const { pairs, unpaired } = pairFiles(photos, labels, pathOf, options.mask?.suffix)
  const files = pairs.map(([photo]) => photo)
  const data = addMasks(
    imageFiles(files, { image, input }),
    pairs.map(([, mask]) => mask),
    (mask) => mask,
    sizeOfFile,
    async (mask, decoding) => {
      const bytes = await readRegularFile('mask', mask)
      const palette = readPalette(mask, bytes)
      return { ...(await decodeBytes(mask, palette ? withoutTransparency(bytes) : bytes, decoding)), palette }
    },
    options,
  )
  return { ...data, files, unpaired, identify: () => ({ keys: pairs.map(([, , key]) => key) }) }
}

/**
 * Opens images and masks for a recipe. The labels belong to every target of the loss unless the source names one, since
 * combined losses give the same labels different names. Without labels the images alone are opened, all of them.
 */
export async function openImageMasks(source: ImageMasksSource, context: OpenContext): Promise<OpenedSource> {
  const { images, masks, image, mask } = source
  const input = inferInput(source, context)
  const targets = context.targets && source.target === undefined ? context.targets : [inferTarget(source, context)]
  const [first] = targets
  if (!first || masks === undefined) return openImages(source, [images], context)
  const as = mask?.as ?? (first.isClasses ? 'class' : 'binary')
  const found = await imageMasks(images, masks, { image, input, mask: { ...mask, as }, label: first.name })
  const augmented = augmentAndReshape(found, input, source, { tensor: first.name, outside: mask?.ignoreIndex ?? 0 })
  const names = [...new Set(targets.map((target) => target!.name))]
  const data = transform(augmented, (batch) => ({
    ...batch,
    ...Object.fromEntries(names.map((name) => [name, batch[first.name]!])),
  }))
  return { data: names.length > 1 ? data : augmented, files: found.files }
}
