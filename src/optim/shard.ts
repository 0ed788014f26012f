import type { FloatArray } from '../ir/float-array.js'
import type { ParameterArrays } from './arrays.js'

/**
 * A process's share of an optimizer whose state is divided among processes by whole tensors (stage 1 of ZeRO,
 * Rajbhandari et al. 2020, arXiv 1910.02054). Every process has all parameters; it updates the tensors that it owns, and
 * gets the others from their owners.
 */
export interface Shard {
  /** Whether this process updates a tensor. */
  readonly owns: (name: string) => boolean
  /** Whether this process stores an array of a tensor's state: a moment, or 'flat' or 'curvature' of IRE's mask. */
  readonly holds: (array: string, name: string) => boolean
  /** Whether the loss gradients of this process are those of the tensors that it owns. Otherwise it has all. */
  readonly dividesGradients: boolean
  /** Replaces arrays by their sums over all processes. */
  readonly sum: (arrays: readonly FloatArray[]) => Promise<void>
  /** Replaces tensors by those of the processes that own them. */
  readonly share: (tensors: ParameterArrays) => Promise<void>
}

/** `holds` of a process that stores the whole state. */
export const holdsAll = (): boolean => true
