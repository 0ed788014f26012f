import { checkNumber, positiveCount } from '../util/check.js'
import type { CheckpointStore } from './checkpoint-store.js'

/** Files of checkpoints in one place, by name. */
export interface CheckpointFiles {
  /** Those that are there, and maybe others. */
  names(): Promise<readonly string[]>
  read(name: string): Promise<Uint8Array>
  /** Writes one whole or not at all. */
  write(name: string, bytes: Uint8Array): Promise<void>
  remove(name: string): Promise<void>
}

/** Options of `checkpointFolder`. */
export interface CheckpointFolderOptions {
  /** How many of the newest checkpoints to keep. Default 3. */
  readonly keep?: number
}

const pattern = /^checkpoint-(\d+)\.safetensors$/
const nameOf = (step: number) => `checkpoint-${String(step).padStart(8, '0')}.safetensors`

/** A store over files `checkpoint-<step>.safetensors`, of which it keeps the newest. */
export function checkpointsIn(files: CheckpointFiles, { keep = 3 }: CheckpointFolderOptions): CheckpointStore {
  checkNumber('checkpointFolder', 'keep', keep, positiveCount)
  const steps = async (): Promise<number[]> =>
    (await files.names())
      .flatMap((name) => pattern.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a)
  return {
    steps,
    async save(step, checkpoint) {
      await files.write(nameOf(step), checkpoint)
      // Those of later steps belong to a future that a resumed run has left.
      const others = (await steps()).filter((each) => each !== step)
      const old = [...others.filter((each) => each > step), ...others.filter((each) => each < step).slice(keep - 1)]
      for (const each of old) await files.remove(nameOf(each))
    },
    load: (step) => files.read(nameOf(step)),
  }
}
