import { checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

/** Where checkpoints are kept: `checkpointFolder` of 'onnx-ire/node', or an object of your own. */
export interface CheckpointStore {
  /** Keeps a checkpoint, whole or not at all, as that of this step. */
  save(step: number, checkpoint: Uint8Array): Promise<void>
  /** The steps of the checkpoints that are kept, newest first. */
  steps(): Promise<readonly number[]>
  /** The checkpoint of one of these steps. */
  load(step: number): Promise<Uint8Array>
}

/** What was found in a store. */
export interface Resumed {
  /** Steps that were done when the checkpoint was written. */
  readonly step: number
  /** Newer checkpoints that could not be used, and why. */
  readonly skipped: readonly { readonly step: number; readonly error: OnnxIreError }[]
}

/**
 * What `read` makes of the newest checkpoint that is whole; null where there is none at all. One that is damaged, or cannot
 * be read, is passed over.
 * Throws `checkpoint` when all are damaged, and when the first whole one belongs to another run.
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
    `none of ${skipped.length} checkpoints can be used; the newest: ${newest!.error.message}`,
    { cause: newest!.error },
  )
}

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
export function createCheckpointStore(files: CheckpointFiles, { keep = 3 }: CheckpointFolderOptions): CheckpointStore {
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
