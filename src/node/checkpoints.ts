import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { checkNumber, positiveCount } from '../optim/option.js'
import type { CheckpointStore } from '../train/checkpoint-store.js'
import { codeOf, readError, writeFileAtomic } from './files.js'
import { makeFolder } from './folder.js'

/** Options of `checkpointFolder`. */
export interface CheckpointFolderOptions {
  /** How many of the newest checkpoints to keep. Default 3. */
  readonly keep?: number
}

const pattern = /^checkpoint-(\d+)\.safetensors$/
const nameOf = (step: number) => `checkpoint-${String(step).padStart(8, '0')}.safetensors`

/**
 * Keeps checkpoints in a folder, as `checkpoint-<step>.safetensors`. Each is written beside and renamed into place, so a
 * crash or a full disk leaves the ones before; then the oldest beyond `keep` are removed, and those of later steps, which
 * this run has not come to: give every run a folder of its own. The folder is made when needed.
 * Its methods throw `io` saying what stands in the way.
 */
export function checkpointFolder(path: string, { keep = 3 }: CheckpointFolderOptions = {}): CheckpointStore {
  checkNumber('checkpointFolder', 'keep', keep, positiveCount)
  const steps = async (): Promise<number[]> => {
    const names = await readdir(path).catch((cause: unknown): string[] => {
      if (codeOf(cause) === 'ENOENT') return []
      throw readError('folder of checkpoints', path, cause)
    })
    return names
      .flatMap((name) => pattern.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a)
  }
  return {
    steps,
    async save(step, checkpoint) {
      await makeFolder(path)
      await writeFileAtomic(join(path, nameOf(step)), checkpoint)
      // Those of later steps belong to a future that a resumed run has left.
      const others = (await steps()).filter((each) => each !== step)
      const old = [...others.filter((each) => each > step), ...others.filter((each) => each < step).slice(keep - 1)]
      for (const each of old) await rm(join(path, nameOf(each)), { force: true })
    },
    load: (step) =>
      readFile(join(path, nameOf(step))).catch((cause) => {
        throw readError('checkpoint', join(path, nameOf(step)), cause)
      }),
  }
}
