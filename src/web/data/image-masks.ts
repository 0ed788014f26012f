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
import { decodeImage } from './decode-image.js'
import { type FolderFile, type FolderFiles, imageFiles, withPaths } from './image-folder.js'

/**
 * Creates a data set of images with masks for segmentation, from two folders with files of the same names. Masks are
 * resized to the size of the images by the nearest pixel. Images without a mask are left out.
 * @throws OnnxIreError `invalid-option`, or `invalid-data` for a mask without an image; a batch throws naming the
 * file that is damaged or a mask of 16 bits
 *
 * @example
 * const data = imageMasks(await listFiles(photos), await listFiles(masks), { image: { size: 256 } })
 */
export function imageMasks(images: FolderFiles, masks: FolderFiles, options: ImageMasksOptions = {}): ImageMasks {
  checkMaskOptions(options)
  const { image, input } = options
  const isImage = ({ path }: FolderFile) => imageExtensions.some((end) => path.toLowerCase().endsWith(end))
  const [photos, labels] = [withPaths(images).filter(isImage), withPaths(masks).filter(isImage)]
  const { pairs, unpaired } = pairFiles(photos, labels, ({ path }) => path, options.mask?.suffix)
  const data = addMasks(
    imageFiles(
      pairs.map(([photo]) => photo),
      { image, input },
    ),
    pairs.map(([, mask]) => mask),
    ({ path }) => path,
    ({ file }) => file.size,
    async ({ path, file }, decoding) => {
      const bytes = new Uint8Array(await file.arrayBuffer())
      const palette = readPalette(path, bytes)
      const opaque = palette ? new Blob([withoutTransparency(bytes)], { type: file.type }) : file
      return { ...(await decodeImage(path, opaque, decoding)), palette }
    },
    options,
  )
  return {
    ...data,
    files: pairs.map(([{ path }]) => path),
    unpaired: unpaired.map(({ path }) => path),
    identify: () => ({ keys: pairs.map(([, , key]) => key) }),
  }
}
