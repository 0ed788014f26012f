import { checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * A store of checkpoints: `checkpointFolder` of 'onnx-ire/node' or 'onnx-ire/web', or any object with these methods.
 *
 * @example
 * const saved = new Map<number, Uint8Array>()
 * const store: CheckpointStore = {
 *   save: async (step, checkpoint) => void saved.set(step, checkpoint),
 *   steps: async () => [...saved.keys()].sort((a, b) => b - a),
 *   load: async (step) => saved.get(step)!,
 * }
 */
export interface CheckpointStore {
  /** Saves the checkpoint of a step, completely or not at all. */
  save(step: number, checkpoint: Uint8Array): Promise<void>
  /** Returns the steps of the stored checkpoints, newest first. */
  steps(): Promise<readonly number[]>
  /** Returns the checkpoint of one of these steps. */
  load(step: number): Promise<Uint8Array>
  /**
   * Locks the store for one training run and returns a function that unlocks it; `fit` calls both. Without this method
   * nothing prevents two runs from writing to one store.
   * @throws OnnxIreError `locked` if another run writes to the store
   */
  lock?(): Promise<() => void>
}

/** The result of `Trainer.resume`: the checkpoint that was restored. */
export interface Resumed {
  /** Number of steps before the checkpoint. */
  readonly step: number
  /** Newer checkpoints that could not be used, and why. */
  readonly skipped: readonly { readonly step: number; readonly error: OnnxIreError }[]
}

/**
 * Reads the newest checkpoint of a store that is not damaged. Returns null if the store is empty.
 * @param read throws `damaged` for a damaged checkpoint, which is then skipped
 * @throws OnnxIreError `damaged` if all checkpoints are damaged or cannot be read, `checkpoint` if the newest undamaged
 * one belongs to another run
 */
export async function loadNewest<T>(
  store: CheckpointStore,
  read: (checkpoint: Uint8Array) => T,
): Promise<(Resumed & { readonly value: T }) | null> {
  const skipped: { step: number; error: OnnxIreError }[] = []
  for (const step of await store.steps()) {
    try {
      return { value: read(await store.load(step)), step, skipped }
    } catch (error) {
      if (!(error instanceof OnnxIreError) || (error.code !== 'damaged' && error.code !== 'io')) throw error
      skipped.push({ step, error })
    }
  }
  if (skipped.length === 0) return null
  const [newest] = skipped
  throw new OnnxIreError(
    'damaged',
    `none of ${skipped.length} checkpoints can be used; error of the newest: ${newest!.error.message}`,
    { cause: newest!.error },
  )
}

/** The files of a folder, by name. */
interface CheckpointFiles {
  /** Returns the names of all files, which may include other files than checkpoints. */
  names(): Promise<readonly string[]>
  read(name: string): Promise<Uint8Array>
  /** Writes a file, completely or not at all. */
  write(name: string, bytes: Uint8Array): Promise<void>
  remove(name: string): Promise<void>
  /** Locks the folder for one run. Throws `locked` if another run has the lock. */
  lock(): Promise<() => void>
}

/** Options of `checkpointFolder`. */
export interface CheckpointFolderOptions {
  /** Number of checkpoints to keep, the newest ones. Default 3. */
  readonly keep?: number
}

const pattern = /^checkpoint-(\d+)\.safetensors$/
/** Whether a file has the name of a checkpoint. */
export const isCheckpoint = (name: string): boolean => pattern.test(name)

const fileName = (step: number) => `checkpoint-${String(step).padStart(8, '0')}.safetensors`

/**
 * Creates a store in files `checkpoint-<step>.safetensors`. Saving removes all but the newest `keep` checkpoints, and
 * needs the lock, which it takes for itself outside of a `fit`.
 */
export function createCheckpointStore(files: CheckpointFiles, { keep = 3 }: CheckpointFolderOptions): CheckpointStore {
  checkNumber('checkpointFolder', 'keep', keep, positiveCount)
  const steps = async (): Promise<number[]> =>
    (await files.names())
      .flatMap((name) => pattern.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a)
  let isLocked = false
  const lock = async () => {
    const unlock = await files.lock()
    isLocked = true
    return () => {
      isLocked = false
      unlock()
    }
  }
  return {
    steps,
    lock,
    async save(step, checkpoint) {
      const unlock = isLocked ? undefined : await lock()
      try {
        await save(step, checkpoint)
      } finally {
        unlock?.()
      }
    },
    load: (step) => files.read(fileName(step)),
  }

  async function save(step: number, checkpoint: Uint8Array): Promise<void> {
    await files.write(fileName(step), checkpoint)
    const others = (await steps()).filter((each) => each !== step)
    // Later steps are from before this run was resumed at an earlier checkpoint: they are no longer part of the run.
    const later = others.filter((each) => each > step)
    const oldest = others.filter((each) => each < step).slice(keep - 1)
    for (const each of [...later, ...oldest]) await files.remove(fileName(each))
  }
}
