import { statfs } from 'node:fs/promises'
import { freemem, totalmem } from 'node:os'
import { InvalidArgumentError } from 'commander'
import { estimateRun, modelBytes, totalBytes } from '../../analysis/inspect/run-memory.js'
import { attempt } from '../../analysis/inspect/tensors.js'
import { batches } from '../../data/batches.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { Model } from '../../onnx/model.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import { unwrap } from '../../optim/optimizer.js'
import type { TrainerOptions } from '../../train/options.js'
import { formatBytes } from '../format.js'

/** The memory that a run needs and the memory that it may take, in bytes. */
export interface MemoryRoom {
  /** Estimated peak of the process; null if the sizes of tensors depend on the data. */
  readonly needed: number | null
  readonly available: number
}

/** The system's numbers about memory, in bytes. */
interface SystemMemory {
  /** Limit of the container (cgroup); 0, or more than `total`, without one. */
  readonly container: number
  readonly total: number
  /** Memory that other processes have not taken. */
  readonly free: number
  /** Memory of this process. */
  readonly own: number
}

/** Reads the system's numbers. Node reads the limits of cgroups of version 1 and 2. */
const readSystemMemory = (): SystemMemory => ({
  container: process.constrainedMemory() ?? 0,
  total: totalmem(),
  // On other systems, caches that could be freed are not counted as free.
  free: process.platform === 'linux' ? freemem() : totalmem(),
  own: process.memoryUsage.rss(),
})

/** Memory that this process may take: what is left of the machine, and at most the limit of its container. */
export function availableMemory({ container, total, free, own }: SystemMemory = readSystemMemory()): number {
  return Math.min(container > 0 ? container : total, total, free + own)
}

/**
 * Estimates the memory of a run before it begins.
 * @param data the first batch of the training data
 * @param limit bytes that the run may take; default: `availableMemory`
 */
export async function measureMemoryRoom(
  model: Model,
  options: Omit<TrainerOptions, 'runtime'>,
  data: DatasetOrStream,
  limit: number | undefined,
): Promise<MemoryRoom> {
  const available = limit ?? availableMemory()
  const own = process.memoryUsage.rss()
  for await (const { tensors } of batches(data, { batchSize: options.batchSize ?? 32 })) {
    const shapes = Object.fromEntries(Object.entries(tensors).map(([name, { dims }]) => [name, dims]))
    // The trainer reports errors of the model and the data.
    const memory = attempt(() => estimateRun(model, options, shapes)).value
    // What is loaded is known: the program, the model, and data that are kept in memory.
    return { available, needed: memory ? Math.round(totalBytes(memory) - memory.loaded + own) : null }
  }
  return { available, needed: null }
}

/** A warning if a run needs more memory than it may take. */
export const warnOfMemory = ({ needed, available }: MemoryRoom, { batchSize = 32 }: { batchSize?: number }) =>
  needed === null || needed <= available
    ? undefined
    : `the run needs about ${formatBytes(needed)} of memory and may take ${formatBytes(available)}: lower batchSize, ` +
      `which is ${batchSize}, set microBatch of the recipe to compute fewer examples at once, or recompute: 'blocks' to store fewer activations`

const units = 'KMGT'

/** Parses a number of bytes with a binary unit: `4G`, `1.5GiB`, `800M`. */
export function parseBytes(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(?:([KMGT])(?:iB|B)?)?$/i.exec(text) ?? []
  const bytes = Math.floor(Number(number) * 1024 ** (unit ? units.indexOf(unit.toUpperCase()) + 1 : 0))
  if (number !== undefined && bytes >= 1 && Number.isSafeInteger(bytes)) return bytes
  throw new InvalidArgumentError('It must be a number of bytes above 0, such as 800M or 4G.')
}

/** The files that a run is going to write. */
interface WrittenFiles {
  readonly model: Model
  readonly parameters: ParameterArrays
  readonly options: Pick<TrainerOptions, 'optimizer' | 'ema' | 'best' | 'localSteps'>
  /** Number of checkpoints that are kept. */
  readonly keep: number
  /** Bytes of the checkpoints that the run replaces. */
  readonly present: number
}

/** Returns a warning if the disk of a folder has too little room for the files of a run; otherwise undefined. */
export async function checkDiskRoom(folder: string, files: WrittenFiles): Promise<string | undefined> {
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
function checkpointBytes({ parameters, options: { optimizer, ema, best, localSteps } }: WrittenFiles): number {
  const arrays = Object.values(parameters)
  const weights = arrays.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const elements = arrays.reduce((sum, { length }) => sum + length, 0)
  const { base, ire } = unwrap(optimizer)
  const others = [ema !== undefined, best, localSteps, ire && ire.beta > 0].filter(Boolean).length
  const copies = 1 + base.moments.length + others
  return copies * weights + (ire ? elements : 0)
}
