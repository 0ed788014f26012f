import { readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { Dataset } from '../../data/dataset.js'
import { OnnxIreError } from '../../util/errors.js'
import { readError } from '../files.js'

/** Files in one folder per class. */
export interface LabeledFiles {
  readonly classes: readonly string[]
  /** Paths, class by class. */
  readonly files: readonly string[]
  /** labels[i] is the class number of files[i]. */
  readonly labels: readonly number[]
}

/** A data set of files in one folder per class; `labels[i]` is the class number of `files[i]`. */
export type ClassFolder = Dataset & LabeledFiles

const parts = new Set(['train', 'training', 'val', 'valid', 'validation', 'test'])

/**
 * The files of a folder that has one sub-folder per class, in the order of their names. Files are those with one of the
 * extensions, however deep; names beginning with a dot are left out.
 * @param classes the sub-folders in the order of their numbers. Default: all, sorted by name, as torchvision's ImageFolder does
 * @throws 'io', or 'invalid-data' naming the folder that has no class or no file
 */
export async function listLabeledFiles(
  path: string,
  extensions: readonly string[],
  classes?: readonly string[],
): Promise<LabeledFiles> {
  const there = (await entriesOf(path)).filter((entry) => entry.folder).map(({ name }) => name)
  if (there.length === 0)
    throw new OnnxIreError(
      'invalid-data',
      `${path} has no sub-folders; it must have one per class, with its files inside`,
    )
  if (there.every((name) => parts.has(name)))
    throw new OnnxIreError(
      'invalid-data',
      `${path} has the folders ${there.join(', ')}, which are no classes: name one of them, such as ${join(path, there[0]!)}`,
    )
  const names = classes ?? there
  const files: string[] = []
  const labels: number[] = []
  for (const [label, name] of names.entries()) {
    if (!there.includes(name))
      throw new OnnxIreError('invalid-data', `${path} has no folder '${name}'; its classes are ${there.join(', ')}`)
    const own = await listFiles(join(path, name), extensions)
    if (own.length === 0)
      throw new OnnxIreError(
        'invalid-data',
        `${join(path, name)} holds no file named ${extensions.map((each) => `*${each}`).join(', ')}; remove the folder or fill it`,
      )
    for (const file of own) {
      files.push(file)
      labels.push(label)
    }
  }
  return { classes: names, files, labels }
}

/** The files below a folder with one of the extensions, in the order of their names. */
export async function listFiles(path: string, extensions: readonly string[]): Promise<string[]> {
  const files: string[] = []
  for (const { name, folder } of await entriesOf(path)) {
    if (folder) files.push(...(await listFiles(join(path, name), extensions)))
    else if (extensions.includes(extname(name).toLowerCase())) files.push(join(path, name))
  }
  return files
}

async function entriesOf(path: string): Promise<{ readonly name: string; readonly folder: boolean }[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((cause) => {
    throw readError('folder', path, cause, { ENOENT: 'there is no such folder', ENOTDIR: 'it is not a folder' })
  })
  const visible = entries.filter(({ name }) => !name.startsWith('.'))
  return Promise.all(
    visible
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(async (entry) => ({
        name: entry.name,
        folder: entry.isDirectory() || (entry.isSymbolicLink() && (await leadsToFolder(join(path, entry.name)))),
      })),
  )
}

const leadsToFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false, // a link to nothing: a file that cannot be read, which says so when its turn comes
  )
