import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { OnnxIreError } from '../util/errors.js'
import { codeOf, reasonOf, stageFile } from './files.js'

/** Makes a folder where there is none and sees that files can be written to it. Throws `io` saying what stands in the way. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await makePath(path)
  } catch (cause) {
    const reason = reasonOf(cause, {
      EEXIST: 'there is a file of that name; choose another name',
      ENOENT: 'the folder it is to be in takes no new ones; choose another place',
      ENOTDIR: 'a part of its path is a file; choose another name',
      EACCES: 'the folder it is to be in may not be written to; choose another one or change its permissions',
      EPERM: 'the folder it is to be in may not be written to; choose another one or change its permissions',
      EROFS: 'it would be on a read-only file system; choose another place',
      ENOSPC: 'the disk is full; free some space or choose another disk',
    })
    throw new OnnxIreError('io', `cannot make the folder ${path}: ${reason}`, { cause })
  }
  const probe = await stageFile(join(path, 'probe'), '')
  await probe.discard()
}

/** As `mkdir` with `recursive`, which in Node 20 never ends where a folder takes no new ones (/proc). */
async function makePath(path: string): Promise<void> {
  const code = await attempt(path)
  if (code === 'ENOENT' && dirname(path) !== path) {
    await makePath(dirname(path))
    if (!(await isFolder(path))) await mkdir(path)
  }
}

/** Makes one folder; the error's code when only the folder around it may be missing. */
async function attempt(path: string): Promise<string | undefined> {
  try {
    await mkdir(path)
    return undefined
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'ENOENT'
    if (codeOf(error) === 'EEXIST' && (await isFolder(path))) return undefined
    throw error
  }
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
