import type { FloatArray } from '../ir/float-array.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * Processes that train one model together, each on its share of every batch: `mpi()` of 'onnx-ire/node'. Every process
 * makes the same calls in the same order; each call waits for all processes.
 */
export interface ProcessGroup {
  /** Number of this process, from 0. Rank 0 alone writes checkpoints. */
  readonly rank: number
  /** Number of processes. */
  readonly size: number
  /** Replaces arrays by their sums over all processes, the same bits in each. Arrays have equal lengths everywhere. */
  allReduce(arrays: readonly FloatArray[]): Promise<void>
  /**
   * Sends the i-th of `size` equal parts of `sent` to process i. `received` is then the parts from all processes, by
   * rank. A part has less than 2 GB.
   */
  allToAll(sent: Uint8Array, received: Uint8Array): Promise<void>
  /** Sends `own` to all processes. `all` is then the bytes of all processes, by rank. `own` has less than 2 GB. */
  allGather(own: Uint8Array, all: Uint8Array): Promise<void>
  /**
   * Replaces the arrays of `parts[rank]` by their sums over all processes. `parts` has the arrays of each process, of equal
   * types and lengths everywhere. The others are undefined afterwards.
   */
  reduceScatter(parts: readonly (readonly FloatArray[])[]): Promise<void>
  /** Replaces the arrays of every `parts[r]` by those of process r. They have equal types and lengths everywhere. */
  gatherParts(parts: readonly (readonly FloatArray[])[]): Promise<void>
  /** Replaces arrays by those of one process, by default rank 0. Arrays have equal types and lengths everywhere. */
  broadcast(arrays: readonly (FloatArray | Uint8Array)[], root?: number): Promise<void>
}

/** Replaces arrays by their sums over all processes, as `ProcessGroup.allReduce`. */
export type SumArrays = ProcessGroup['allReduce']

/** Replaces gradients, by parameter name, by their sums over all processes. */
export type SumGradients = (gradients: ParameterArrays) => Promise<void>

/** Waits until every process has made the same call. */
export const barrier = (group: ProcessGroup): Promise<void> => group.allReduce([new Float64Array(1)])

/** Returns the decision of rank 0, and waits for it. */
export const decideByFirst = (group: ProcessGroup, own: boolean): Promise<boolean> =>
  decideByAny(group, group.rank === 0 && own)

/** Returns whether one of the processes gives true. */
export async function decideByAny(group: ProcessGroup, own: boolean): Promise<boolean> {
  const count = Float64Array.of(Number(own))
  await group.allReduce([count])
  return count[0]! > 0
}

/** Returns bytes of rank 0, whose number the other processes need not have; null if rank 0 gives null. */
export async function broadcastBytes(group: ProcessGroup, own: Uint8Array | null): Promise<Uint8Array | null> {
  const length = new Float64Array([group.rank === 0 ? (own?.length ?? -1) : 0])
  await group.allReduce([length])
  if (length[0]! < 0) return null
  const bytes = group.rank === 0 ? own! : new Uint8Array(length[0]!)
  await group.broadcast([bytes])
  return bytes
}

/**
 * Throws `runtime` in every process unless all have the same texts and numbers.
 * @param what what is compared, for the message: 'the weights of step 100'
 */
export async function checkEqual(
  group: ProcessGroup,
  what: string,
  parts: Iterable<string | ArrayBufferView>,
): Promise<void> {
  const all = new Float64Array(group.size)
  all[group.rank] = Number.parseInt(checksum(parts), 16)
  await group.allReduce([all])
  const other = all.findIndex((each) => each !== all[0])
  if (other < 0) return
  throw new OnnxIreError(
    'runtime',
    `${what} of rank ${other} differ from those of rank 0: give every process the same model, data, options and version of onnx-ire`,
  )
}
