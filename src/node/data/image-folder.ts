import { labels } from '../../data/arrays.js'
import type { Dataset } from '../../data/dataset.js'
import { decodedImages, type ImageFilesOptions, imageExtensions } from '../../data/image-files.js'
import { checkNames } from '../../util/check.js'
import { decodeImage } from './decode-image.js'
import { labelledFiles } from './folders.js'
import type { ClassFolder } from './text-folder.js'

/** Options of `imageFolder`. */
export interface ImageFolderOptions extends ImageFilesOptions {
  /** The sub-folders in the order of their class numbers. Default: all, sorted by name. */
  readonly classes?: readonly string[] | undefined
  /** Name of the class numbers: int64 [n]. Default 'label'. */
  readonly label?: string | undefined
}

/**
 * Images in one sub-folder per class, the layout of ImageNet: JPEG, PNG or WebP. Each is decoded when its batch is asked
 * for and then forgotten, so the folder may be larger than memory.
 *
 * ```ts
 * const train = await imageFolder('flowers/train', { image: { size: 224, fit: 'cover', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } })
 * train.classes // ['daisy', 'rose', ...]
 * ```
 * @throws 'io', 'invalid-option', or 'invalid-data' naming the folder without images; when a batch is made, the damaged file
 */
export async function imageFolder(path: string, options: ImageFolderOptions = {}): Promise<ClassFolder> {
  checkNames('imageFolder', options, ['image', 'input', 'classes', 'label'])
  const { classes, label = 'label', image, input } = options
  const found = await labelledFiles(path, imageExtensions, classes)
  const data = imageFiles(found.files, { image, input })
  return {
    ...found,
    length: data.length,
    batch: async (indices) => ({
      ...(await data.batch(indices)),
      [label]: labels(Array.from(indices, (index) => found.labels[index]!)),
    }),
  }
}

/** Images by path, without labels; otherwise as `imageFolder`. */
export const imageFiles = (paths: readonly string[], options: ImageFilesOptions = {}): Dataset =>
  decodedImages(paths, (path) => path, decodeImage, options)
