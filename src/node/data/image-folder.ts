import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fromArrays, labelColumn } from '../../data/arrays.js'
import { checkClassNames } from '../../data/classes.js'
import { type Dataset, deriveChecksum } from '../../data/dataset.js'
import {
  describeSkipped,
  type ImageFilesOptions,
  imageExtensions,
  imageFileDataset,
  otherImageExtensions,
} from '../../data/image/image-files.js'
import type { ImageFolderSource } from '../../recipe/sources/images.js'
import type { ImageFilesSource } from '../../recipe/sources/source.js'
import { checkNames } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { sizeOfFile } from './checksum-files.js'
import { augmentAndReshape, inferInput, inferTarget, type OpenContext, type OpenedSource } from './data-source.js'
import { decodeImage } from './decode-image.js'
import { type ClassFolder, identifyFiles, listFiles, listLabeledFiles } from './folders.js'

/** Data set of images in one folder per class. */
export interface ImageFolder extends ClassFolder {
  /** Paths of images of formats that are not read, such as .bmp and .tif. */
  readonly skipped: readonly string[]
}

/** Options of `imageFolder`. */
export interface ImageFolderOptions extends ImageFilesOptions {
  /** The sub-folders in the order of their class numbers. Default: all, sorted by name. */
  readonly classes?: readonly string[] | undefined
  /** Name of the class numbers, int64 [n]. Default 'labels'. */
  readonly label?: string | undefined
}

/**
 * Opens JPEG, PNG, WebP, GIF (the first frame) or AVIF images in one sub-folder per class, the layout of ImageNet.
 * Images are decoded per batch and not cached, so the folder may be larger than memory. Files of other formats are in
 * `skipped`.
 *
 * ```ts
 * const image = { size: 224, fit: 'cover', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
 * const train = await imageFolder('flowers/train', { image })
 * train.classes // ['daisy', 'rose', ...]
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming a folder without images or, when its batch is
 * read, a damaged file
 */
export async function imageFolder(path: string, options: ImageFolderOptions = {}): Promise<ImageFolder> {
  checkNames('imageFolder', options, ['image', 'input', 'classes', 'label'])
  const { classes, label = 'labels', image, input } = options
  if (classes) checkClassNames('imageFolder', classes)
  const found = await listLabeledFiles(path, imageExtensions, classes)
  const data = imageFiles(found.files, { image, input })
  const others = found.classes.map((name) => listFiles(join(path, name), otherImageExtensions).catch(() => []))
  return {
    ...found,
    skipped: (await Promise.all(others)).flat(),
    length: data.length,
    batch: async (indices) => ({
      ...(await data.batch(indices)),
      [label]: labelColumn(Array.from(indices, (index) => found.labels[index]!)),
    }),
    checksum: deriveChecksum(data, Uint32Array.from(found.labels)),
    identify: () => identifyFiles(path, found),
  }
}

/** Opens image files without labels. Options and errors are those of `imageFolder`. */
export const imageFiles = (paths: readonly string[], options: ImageFilesOptions = {}): Dataset =>
  imageFileDataset(paths, (path) => path, sizeOfFile, decodeImage, options)

/**
 * Opens images without labels in the form of a source: files, or folders with all images in them.
 * @throws OnnxIreError `io`, or `invalid-data` for a folder without images
 */
export async function openImages(
  source: ImageFilesSource,
  paths: readonly string[],
  context: OpenContext,
): Promise<OpenedSource> {
  const files: string[] = []
  for (const path of paths) {
    const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true
    const own = isFolder ? await listFiles(path, imageExtensions) : [path]
    if (own.length === 0)
      throw new OnnxIreError('invalid-data', `${path} has no images: put files ${imageExtensions.join(', ')} in it`)
    files.push(...own)
  }
  const input = inferInput(source, context)
  return { data: augmentAndReshape(imageFiles(files, { image: source.image, input }), input, source), files }
}

/** Opens a folder of images for a recipe. */
export async function openImageFolder(source: ImageFolderSource, context: OpenContext): Promise<OpenedSource> {
  const { folder, image } = source
  const input = inferInput(source, context)
  const target = inferTarget(source, context)
  if (target === null) return openImages(source, [folder], context)
  const classes = source.classes ?? getOwn(await context.classes(), target.name)
  const found = await imageFolder(folder, { image, input, classes, label: target.name })
  const skipped = describeSkipped(found.skipped)
  return {
    data: augmentAndReshape(found, input, source),
    labels: fromArrays({ [target.name]: labelColumn(found.labels) }),
    classes: { [target.name]: found.classes },
    files: found.files,
    ...(skipped === undefined ? {} : { warnings: [skipped] }),
  }
}
