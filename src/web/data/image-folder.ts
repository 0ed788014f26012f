import { labelColumn as labelTensor } from '../../data/arrays.js'
import { checkClassNames, checkMissingClass } from '../../data/classes.js'
import { type Dataset, deriveChecksum } from '../../data/dataset.js'
import {
  type ImageFilesOptions,
  imageExtensions,
  imageFileDataset,
  otherImageExtensions,
} from '../../data/image/image-files.js'
import { checkNames } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { decodeImage } from './decode-image.js'

/** A file in a folder. */
export interface FolderFile {
  /** Path within the folder: 'daisy/1.jpg'. */
  readonly path: string
  readonly file: Blob
}

/** Files of a folder: from an `<input type="file" webkitdirectory>`, or with explicit paths. */
export type FolderFiles = Iterable<File | FolderFile>

/**
 * Lists all files below a folder that was picked, dropped or belongs to the origin, at any depth; names that start with
 * a dot are skipped.
 */
export async function listFiles(folder: FileSystemDirectoryHandle, path = ''): Promise<FolderFile[]> {
  const files: FolderFile[] = []
  for await (const [name, handle] of folder.entries()) {
    if (name.startsWith('.')) continue
    if (handle.kind === 'directory')
      files.push(...(await listFiles(handle as FileSystemDirectoryHandle, `${path}${name}/`)))
    else files.push({ path: path + name, file: await (handle as FileSystemFileHandle).getFile() })
  }
  return files
}

/** Adds paths to files and sorts by them. The first folder of a picked file's path is the picked folder itself. */
export function withPaths(files: FolderFiles): FolderFile[] {
  const named = [...files].map((file): FolderFile => {
    if (!(file instanceof Blob)) return file
    return { path: file.webkitRelativePath.split('/').slice(1).join('/') || file.name, file }
  })
  return named.filter(({ path }) => !/(^|\/)\./.test(path)).sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Options of `imageFolder`. */
export interface ImageFolderOptions extends ImageFilesOptions {
  /** Sub-folders in the order of their class numbers. Default: all, sorted by name. */
  readonly classes?: readonly string[] | undefined
  /** Name of the column of class numbers, int64 [n]. Default 'labels'. */
  readonly label?: string | undefined
}

/** Data set of files in one folder per class; `labels[i]` is the class number of `files[i]`. */
export interface ClassFolder extends Dataset {
  readonly classes: readonly string[]
  /** Paths within the folder, class by class. */
  readonly files: readonly string[]
  readonly labels: readonly number[]
  /** Paths of images of formats that are not read, such as .bmp and .tif. */
  readonly skipped: readonly string[]
}

/**
 * Creates a data set of JPEG, PNG, WebP, GIF or AVIF images in one sub-folder per class, from a folder that was picked.
 * An image is decoded when its batch is requested and not cached, so the folder may be larger than memory.
 * @throws OnnxIreError `invalid-option`, or `invalid-data` naming the folder without images; a batch throws naming the
 * damaged file
 *
 * @example
 * const input = document.querySelector('input')! // <input type="file" webkitdirectory>
 * const train = imageFolder(input.files!, { image: { size: 224, fit: 'cover' } })
 * const other = imageFolder(await listFiles(await showDirectoryPicker()), { image: { size: 224 } })
 */
export function imageFolder(files: FolderFiles, options: ImageFolderOptions = {}): ClassFolder {
  checkNames('imageFolder', options, ['image', 'input', 'classes', 'label'])
  const { label = 'labels', image, input } = options
  if (options.classes) checkClassNames('imageFolder', options.classes)
  const all = withPaths(files)
  const { classes, found } = labelFiles(all, options.classes)
  const data = imageFiles(
    found.map(({ file }) => file),
    { image, input },
  )
  const labels = found.map(({ number }) => number)
  return {
    classes,
    files: found.map(({ file }) => file.path),
    labels,
    skipped: all.flatMap(({ path }) => (isOther(path) && classes.includes(path.split('/')[0]!) ? [path] : [])),
    length: data.length,
    batch: async (indices) => ({
      ...(await data.batch(indices)),
      [label]: labelTensor(Array.from(indices, (index) => labels[index]!)),
    }),
    checksum: deriveChecksum(data, Uint32Array.from(labels)),
    identify: () => ({ keys: found.map(({ file }) => file.path), classes: labels }),
  }
}

/** Creates a data set of images without labels, in the given order; otherwise like `imageFolder`. */
export function imageFiles(files: FolderFiles, options: ImageFilesOptions = {}): Dataset {
  const named = [...files].map((each) => (each instanceof Blob ? { path: each.name, file: each } : each))
  return imageFileDataset(
    named,
    ({ path }) => path,
    ({ file }) => file.size,
    async ({ path, file }, decoding) => {
      return decodeImage(path, file, decoding)
    },
    options,
  )
}

const isOther = (path: string) => otherImageExtensions.some((end) => path.toLowerCase().endsWith(end))

function labelFiles(files: readonly FolderFile[], given: readonly string[] | undefined) {
  const refuse = (what: string) => new OnnxIreError('invalid-data', `imageFolder: ${what}`)
  const folderOf = ({ path }: FolderFile) => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '')
  const there = [...new Set(files.map(folderOf))].filter((name) => name !== '').sort()
  if (there.length === 0) throw refuse('there are no sub-folders; create one per class with its files')
  const classes = given ?? there
  const images = files.filter(({ path }) => imageExtensions.some((end) => path.toLowerCase().endsWith(end)))
  const found = classes.flatMap((name, number) => {
    if (!there.includes(name)) checkMissingClass('imageFolder: the folder', name, there, classes)
    const own = images.filter((file) => folderOf(file) === name)
    if (own.length > 0 || given) return own.map((file) => ({ file, number }))
    throw refuse(
      `${name} contains no file named ${imageExtensions.map((each) => `*${each}`).join(', ')}; remove the folder or fill it`,
    )
  })
  if (found.length === 0) throw refuse(`there is no file of the classes ${classes.join(', ')}`)
  return { classes, found }
}
