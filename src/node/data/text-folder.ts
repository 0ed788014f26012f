import { labels } from '../../data/arrays.js'
import { concurrently } from '../../data/concurrent.js'
import { checkIndices, type Dataset } from '../../data/dataset.js'
import { checkNames } from '../../util/check.js'
import { type LabelledFiles, labelledFiles } from './folders.js'
import { readText } from './text.js'

/** Options of `textFolder`. */
export interface TextFolderOptions {
  /** The sub-folders in the order of their class numbers. Default: all, sorted by name. */
  readonly classes?: readonly string[] | undefined
  /** Names of files end in one of these. Default ['.txt']. */
  readonly extensions?: readonly string[] | undefined
  /** Name of the texts: strings [n]. Default 'text'. */
  readonly text?: string | undefined
  /** Name of the class numbers: int64 [n]. Default 'label'. */
  readonly label?: string | undefined
}

/** A data set of files in a folder per class; `labels[i]` is the class number of `files[i]`. */
export type ClassFolder = Dataset & LabelledFiles

/**
 * Documents, one UTF-8 file each, in one sub-folder per class. They are read when their batch is asked for.
 * @throws 'io', 'invalid-option', or 'invalid-data' naming the folder that holds none or the file that is not UTF-8
 */
export async function textFolder(path: string, options: TextFolderOptions = {}): Promise<ClassFolder> {
  checkNames('textFolder', options, ['classes', 'extensions', 'text', 'label'])
  const { classes, extensions = ['.txt'], text = 'text', label = 'label' } = options
  const found = await labelledFiles(path, extensions, classes)
  return {
    ...found,
    length: found.files.length,
    async batch(indices) {
      checkIndices(indices, found.files.length)
      const data = await concurrently(indices, 4, (index) => readText(found.files[index]!))
      return {
        [text]: { dtype: 'string', dims: [data.length], data },
        [label]: labels(Array.from(indices, (index) => found.labels[index]!)),
      }
    },
  }
}
