import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckpointStore } from '../../train/checkpoint/store.js'
import { type CheckpointFolderOptions, createCheckpointStore } from '../../train/checkpoint/store.js'
import { codeOf, readError, readRegularFile, writeFileAtomic } from './files.js'
import { lockFolder } from './lock-folder.js'
import { makeFolder } from './make-folder.js'

/**
 * Stores checkpoints in a folder, as `checkpoint-<step>.safetensors`. Each is written to a temporary file and renamed,
 * so a crash or a full disk leaves the earlier ones intact. Afterwards the oldest checkpoints beyond `keep` are
 * removed, and those of later steps, which belong to another run: use one folder per run. The folder is created when it
 * is needed. A file `lock.json` keeps other processes from writing to the folder during a `fit`; the lock of a process
 * that no longer exists is taken over.
 * @throws OnnxIreError `io` with the reason, `locked` naming the process that writes to the folder, from its methods
 * @example
 * const store = checkpointFolder('runs/digits', { keep: 3 })
 * await trainer.train(data, { totalEpochs: 10, checkpoints: { store, everySeconds: 60 } })
 */
export function checkpointFolder(path: string, options: CheckpointFolderOptions = {}): CheckpointStore {
  const files = {
    async names() {
      return readdir(path).catch((cause: unknown): string[] => {
        if (codeOf(cause) === 'ENOENT') return []
        throw readError('folder of checkpoints', path, cause)
      })
    },
    read: (name: string) => readRegularFile('checkpoint', join(path, name)),
    async write(name: string, bytes: Uint8Array) {
      await makeFolder(path)
      await writeFileAtomic(join(path, name), bytes)
    },
    remove: (name: string) => rm(join(path, name), { force: true }),
    async lock() {
      await makeFolder(path)
      return lockFolder(path)
    },
  }
  return createCheckpointStore(files, options)
}
