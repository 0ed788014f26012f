import { arrays, labels } from '../../data/arrays.js'
import type { Dataset } from '../../data/dataset.js'
import { imageExtensions } from '../../data/image-files.js'
import { filesBelow } from '../../node/data/folders.js'
import { imageFiles, imageFolder } from '../../node/data/image-folder.js'
import type { ImageFolderSource } from '../../recipe/sources/image-folder.js'
import { OnnxIreError } from '../../util/errors.js'
import { augmented } from './augmented.js'
import { inDims } from './in-dims.js'
import { inputFor, targetFor } from './naming.js'
import type { Opened, Opening } from './opened.js'

export async function openImageFolder(source: ImageFolderSource, opening: Opening): Promise<Opened> {
  const { folder, image, dims } = source
  const input = inputFor(source, opening)
  const made = (data: Dataset) => inDims(augmented(data, input, source), input, dims)
  const target = targetFor(source, opening)
  if (target === null) {
    const files = await filesBelow(folder, imageExtensions)
    if (files.length === 0)
      throw new OnnxIreError('invalid-data', `${folder} holds no image (${imageExtensions.join(', ')})`)
    return { data: made(imageFiles(files, { image, input })), files }
  }
  const classes = source.classes ?? (await opening.classes())[target.name]
  const found = await imageFolder(folder, { image, input, classes, label: target.name })
  const given = arrays({ [target.name]: labels(found.labels) })
  return {
    data: made(found),
    labels: given,
    classes: { [target.name]: found.classes },
    files: found.files,
  }
}
