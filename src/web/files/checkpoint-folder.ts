import type { CheckpointStore } from '../../train/checkpoint/store.js'
import { type CheckpointFolderOptions, createCheckpointStore, isCheckpoint } from '../../train/checkpoint/store.js'
import { lockPath, storage } from './storage.js'

/**
 * Stores checkpoints in a folder of the origin's private file system, as `checkpoint-<step>.safetensors`. A checkpoint
 * appears only when it has been written completely, so a closed tab or a full disk leaves the earlier ones intact.
 * Afterwards the oldest checkpoints beyond `keep` are removed, and those of later steps, which belong to another run:
 * use one folder per run. A Web Lock keeps other pages and workers from writing to the folder during a `fit`.
 * @throws OnnxIreError `io` with the reason, `locked` if another page or worker writes to the folder, from its methods
 * @example
 * const store = checkpointFolder('runs/digits')
 * await trainer.resume(store)
 */
export function checkpointFolder(path: string, options: CheckpointFolderOptions = {}): CheckpointStore {
  const files = {
    names: async () => {
      // Other entries may be folders, such as those of other runs.
      const names = (await storage.list(path)).filter(isCheckpoint)
      // A file whose writing was cut off is empty.
      const sizes = await Promise.all(names.map(async (name) => (await storage.read(`${path}/${name}`)).size))
      return names.filter((_, i) => sizes[i]! > 0)
    },
    read: async (name: string) => new Uint8Array(await (await storage.read(`${path}/${name}`)).arrayBuffer()),
    write: (name: string, bytes: Uint8Array) => storage.write(`${path}/${name}`, bytes),
    remove: (name: string) => storage.remove(`${path}/${name}`),
    lock: () => lockPath(path),
  }
  return createCheckpointStore(files, options)
}
