import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, reasonOf, stageFile, syncFolder } from './files.js'
import { removeAbandonedFiles } from './temporary-files.js'

/**
 * Creates a folder if it does not exist and checks that files can be written to it. Removes temporary files that killed
 * processes left in it. Throws `io` with the reason.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await makePath(path)
  } catch (cause) {
    const reason = reasonOf(cause, {
      EEXIST: 'a file of that name exists; choose another name',
      ENOENT: 'its parent folder does not accept new folders; choose another location',
      ENOTDIR: 'a component of its path is a file; choose another name',
      EACCES: 'its parent folder is not writable; choose another one or change its permissions',
      EPERM: 'its parent folder is not writable; choose another one or change its permissions',
      EROFS: 'the file system is read-only; choose another location',
      ENOSPC: 'the disk is full; free some space or choose another disk',
    })
    throw new OnnxIreError('io', `cannot create the folder ${path}: ${reason}`, { cause })
  }
  await removeAbandonedFiles(path)
  const probe = await stageFile(join(path, 'probe'), '')
  await probe.discard()
}

/**
 * Creates a folder and its parents. Node 20's recursive `mkdir` never returns in folders such as /proc that accept no
 * new ones.
 */
async function makePath(path: string): Promise<void> {
  const code = await attempt(path)
  if (code === 'ENOENT' && dirname(path) !== path) {
    await makePath(dirname(path))
    if (!(await isFolder(path))) await makeDurable(path)
  }
}

/** Creates one folder; returns 'ENOENT' if its parent may be missing. */
async function attempt(path: string): Promise<string | undefined> {
  try {
    await makeDurable(path)
    return undefined
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'ENOENT'
    if (codeOf(error) === 'EEXIST' && (await isFolder(path))) return undefined
    throw error
  }
}

async function makeDurable(path: string): Promise<void> {
  await mkdir(path)
  await syncFolder(dirname(path))
}

/** Whether a path is a folder, or a link to one. */
export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
