import { formatBytes } from '../format.js'
import type { MemoryRoom } from '../training/check-room.js'

/** Fields of the plan of a fine-tuning that every task has. */
export interface TuningPlan {
  /** Path of the model's file. */
  readonly model: string
  /** Number of examples, or rows, that are held out. */
  readonly heldOut: number
  /** Kind and settings of the adapter. */
  readonly adapter: string
  readonly steps: number
  readonly batchSize: number
  readonly optimizer: string
  /** Null on other devices than the CPU. */
  readonly memory: MemoryRoom | null
  /** Files and folders that are written. */
  readonly outputs: readonly string[]
  /** Folder of the checkpoints. */
  readonly checkpoints: string
  readonly warnings: readonly string[]
}

/** The line of a plan about its memory; none if it is unknown. */
export const formatMemory = (memory: MemoryRoom | null): string[] =>
  memory?.needed ? [`memory   about ${formatBytes(memory.needed)}; ${formatBytes(memory.available)} are available`] : []
