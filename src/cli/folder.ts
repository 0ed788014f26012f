import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { OnnxIreError } from '../errors.js'
import { codeOf, stageFile } from '../node/files.js'

/** Makes a folder where there is none and sees that files can be written to it. Throws `io` saying what stands in the way. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (cause) {
    const reasons: Readonly<Record<string, string>> = {
      EEXIST: 'there is a file of that name; choose another name',
      ENOTDIR: 'a part of its path is a file; choose another name',
      EACCES: 'the folder it is to be in may not be written to; choose another one or change its permissions',
      EPERM: 'the folder it is to be in may not be written to; choose another one or change its permissions',
      EROFS: 'it would be on a read-only file system; choose another place',
      ENOSPC: 'the disk is full; free some space or choose another disk',
    }
    const reason = reasons[codeOf(cause) ?? ''] ?? (cause instanceof Error ? cause.message : String(cause))
    throw new OnnxIreError('io', `cannot make the folder ${path}: ${reason}`, { cause })
  }
  const probe = await stageFile(join(path, 'probe'), '')
  await probe.discard()
}
