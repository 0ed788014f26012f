import { readdir } from 'node:fs/promises'
import { extname, join, relative, sep } from 'node:path'
import { checkMissingClass } from '../../data/classes.js'
import type { Dataset, ExampleIdentity } from '../../data/dataset.js'
import { OnnxIreError } from '../../util/errors.js'
import { folderError } from '../files/files.js'
import { isFolder } from '../files/make-folder.js'

/** Files in one folder per class. */
export interface LabeledFiles {
  readonly classes: readonly string[]
  /** Paths, grouped by class. */
  readonly files: readonly string[]
  /** labels[i] is the class number of files[i]. */
  readonly labels: readonly number[]
}

/** Identifies files in class folders by their paths within the folder, the same on every system. */
export const identifyFiles = (folder: string, { files, labels }: LabeledFiles): ExampleIdentity => ({
  keys: files.map((file) => relative(folder, file).split(sep).join('/')),
  classes: labels,
})

/** A data set of files in one folder per class; `labels[i]` is the class number of `files[i]`. */
export interface ClassFolder extends Dataset, LabeledFiles {}

/** Names of folders that are splits of a data set, not classes. */
const splitNames = new Set(['train', 'training', 'val', 'valid', 'validation', 'test'])

/**
 * Lists the files in a folder with one sub-folder per class, sorted by name. Files with one of the extensions are
 * listed, at any depth, except names that begin with a dot.
 * @param classes the sub-folders in the order of their class numbers, of which some may be missing or empty. Default:
 * all, sorted by name, like ImageFolder of torchvision
 * @throws OnnxIreError `io`, or `invalid-data` naming a folder without classes or without files
 */
export async function listLabeledFiles(
  path: string,
  extensions: readonly string[],
  classes?: readonly string[],
): Promise<LabeledFiles> {
  const available = (await readEntries(path)).filter((entry) => entry.folder).map(({ name }) => name)
  if (available.length === 0)
    throw new OnnxIreError(
      'invalid-data',
      `${path} has no sub-folders; it must have one per class, with its files inside`,
    )
  if (available.every((name) => splitNames.has(name)))
    throw new OnnxIreError(
      'invalid-data',
      `${path} has the folders ${available.join(', ')}, which are splits, not classes; name one of them, such as ${join(path, available[0]!)}`,
    )
  const names = classes ?? available
  const files: string[] = []
  const labels: number[] = []
  for (const [label, name] of names.entries()) {
    if (!available.includes(name)) {
      checkMissingClass(path, name, available, names)
      continue
    }
    const own = await listFiles(join(path, name), extensions)
    if (own.length === 0 && !classes)
      throw new OnnxIreError(
        'invalid-data',
        `${join(path, name)} holds no file named ${extensions.map((each) => `*${each}`).join(', ')}; remove the folder or fill it`,
      )
    for (const file of own) {
      files.push(file)
      labels.push(label)
    }
  }
  if (files.length === 0)
    throw new OnnxIreError(
      'invalid-data',
      `${path} has no file of the classes ${names.join(', ')}: fill their folders, or change 'classes'`,
    )
  return { classes: names, files, labels }
}

/**
 * Lists the files in a folder and its sub-folders, sorted by name, except names that begin with a dot.
 * @param extensions extensions of the files. Default: all files
 */
export async function listFiles(path: string, extensions?: readonly string[]): Promise<string[]> {
  const files: string[] = []
  for (const { name, folder } of await readEntries(path)) {
    if (folder) files.push(...(await listFiles(join(path, name), extensions)))
    else if (extensions?.includes(extname(name).toLowerCase()) ?? true) files.push(join(path, name))
  }
  return files
}

async function readEntries(path: string): Promise<{ readonly name: string; readonly folder: boolean }[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((cause) => {
    throw folderError(path, cause)
  })
  const visible = entries.filter(({ name }) => !name.startsWith('.'))
  return Promise.all(
    visible
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(async (entry) => ({
        name: entry.name,
        // A broken link counts as a file; reading it throws.
        folder: entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(join(path, entry.name)))),
      })),
  )
}
