import { statfs } from 'node:fs/promises'
import { modelBytes } from '../../analysis/inspect/run-memory.js'
import type { Model } from '../../onnx/model.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import { unwrap } from '../../optim/optimizer.js'
import type { TrainerOptions } from '../../train/options.js'
import { formatBytes } from '../text/format.js'

/** The files that a run is going to write. */
interface RunFiles {
  readonly model: Model
  readonly parameters: ParameterArrays
  readonly options: Pick<TrainerOptions, 'optimizer' | 'ema' | 'best'>
  /** Number of checkpoints that are kept. */
  readonly keep: number
  /** Bytes of the checkpoints that the run replaces. */
  readonly present: number
}

/** Returns a warning if the disk of a folder has too little room for the files of a run; otherwise undefined. */
export async function checkDiskRoom(folder: string, files: RunFiles): Promise<string | undefined> {
  const { keep, present } = files
  const [checkpoint, model] = [checkpointBytes(files), modelBytes(files.model)]
  // A checkpoint is written completely before the oldest one is removed.
  const needed = model + (keep + 1) * checkpoint - present
  const { bavail, bsize } = await statfs(folder)
  if (needed <= bavail * bsize) return undefined
  return (
    `the disk of ${folder} has ${formatBytes(bavail * bsize)} left, but the run needs about ${formatBytes(needed)}: ` +
    `${keep + 1} checkpoints of ${formatBytes(checkpoint)} and a model of ${formatBytes(model)}; free some space, or lower ` +
    'checkpoints.keep of the recipe'
  )
}

/** Approximate size of a checkpoint: weights, their copies, the optimizer's moments and IRE's mask. */
function checkpointBytes({ parameters, options: { optimizer, ema, best } }: RunFiles): number {
  const arrays = Object.values(parameters)
  const weights = arrays.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const elements = arrays.reduce((sum, { length }) => sum + length, 0)
  const { base, ire } = unwrap(optimizer)
  const copies = 1 + base.moments.length + [ema !== undefined, best, ire && ire.beta > 0].filter(Boolean).length
  return copies * weights + (ire ? elements : 0)
}
