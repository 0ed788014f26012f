import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckpointStore } from '../train/checkpoint/store.js'
import { type CheckpointFolderOptions, createCheckpointStore } from '../train/checkpoint/store.js'
import { codeOf, readError, writeFileAtomic } from './files.js'
import { makeFolder } from './folder.js'

/**
 * Keeps checkpoints in a folder, as `checkpoint-<step>.safetensors`. Each is written beside and renamed into place, so a
 * crash or a full disk leaves the ones before; then the oldest beyond `keep` are removed, and those of later steps, which
 * this run has not come to: give every run a folder of its own. The folder is made when needed.
 * Its methods throw `io` saying what stands in the way.
 */
export function checkpointFolder(path: string, options: CheckpointFolderOptions = {}): CheckpointStore {
  const files = {
    async names() {
      return readdir(path).catch((cause: unknown): string[] => {
        if (codeOf(cause) === 'ENOENT') return []
        throw readError('folder of checkpoints', path, cause)
      })
    },
    async read(name: string) {
      return readFile(join(path, name)).catch((cause) => {
        throw readError('checkpoint', join(path, name), cause)
      })
    },
    async write(name: string, bytes: Uint8Array) {
      await makeFolder(path)
      await writeFileAtomic(join(path, name), bytes)
    },
    remove: (name: string) => rm(join(path, name), { force: true }),
  }
  return createCheckpointStore(files, options)
}
