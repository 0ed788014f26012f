import type { CheckpointStore } from '../train/checkpoint/store.js'
import { type CheckpointFolderOptions, createCheckpointStore } from '../train/checkpoint/store.js'
import { removeStored, storedFile, storedNames, storeFile } from './storage.js'

/**
 * Keeps checkpoints in a folder of the origin's private file system, as `checkpoint-<step>.safetensors`. One takes its place
 * when it is written whole, so a closed tab or a full disk leaves the ones before; then the oldest beyond `keep` are removed,
 * and those of later steps, which this run has not come to: give every run a folder of its own.
 * Its methods throw `io` saying what stands in the way.
 */
export function checkpointFolder(path: string, options: CheckpointFolderOptions = {}): CheckpointStore {
  const files = {
    names: () => storedNames(path),
    read: async (name: string) => new Uint8Array(await (await storedFile(`${path}/${name}`)).arrayBuffer()),
    write: (name: string, bytes: Uint8Array) => storeFile(`${path}/${name}`, bytes),
    remove: (name: string) => removeStored(`${path}/${name}`),
  }
  return createCheckpointStore(files, options)
}
