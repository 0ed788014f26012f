import { USAGE } from './flags.js'
import type { Access, Kernel, Kernels } from './kernels.js'
import { concludeCode, PART_BYTES, partsCode } from './norm-shaders.js'
import { BINS, commitCode, countCode, countFewCode, markCode, SELECTION_BYTES, selectCode } from './ranking-shaders.js'
import { type Memory, partsOf, type Slot, wordsOf } from './slots.js'
import { STATE_BYTES } from './state.js'

/** The buffers that all tensors share. */
export interface Shared {
  /** See `STATE`. */
  readonly state: GPUBuffer
  /** Where a selection stands. */
  readonly selection: GPUBuffer
  readonly histogram: GPUBuffer
  readonly parts: GPUBuffer
  /** The mask in force, a bit per element, and that of a step not applied yet. */
  readonly flat: GPUBuffer
  readonly pending: GPUBuffer
  /** Words of a mask; 0 where there is none. */
  readonly words: number
}

export function sharedBuffers(memory: Memory, slots: readonly Slot[], enhancing: boolean): Shared {
  const words = enhancing ? slots.reduce((sum, { count }) => sum + wordsOf(count), 0) : 0
  const parts = slots.reduce((sum, { count }) => sum + partsOf(count), 0)
  return {
    state: memory.buffer('state', STATE_BYTES, USAGE.uniform),
    selection: memory.buffer('selection', SELECTION_BYTES),
    histogram: memory.buffer('histogram', enhancing ? 4 * BINS : 0),
    parts: memory.buffer('sums of squares', PART_BYTES * parts),
    flat: memory.buffer('mask', 4 * words),
    pending: memory.buffer('pending mask', 4 * words),
    words,
  }
}

/** A kernel whose group 1 is always the same. */
export interface Bound {
  readonly kernel: Kernel
  readonly group: GPUBindGroup
}

/** The kernels that are the same for every optimizer. */
export interface Fixed {
  readonly parts: Bound
  readonly conclude: Bound
  readonly count: Bound
  readonly countFew: Bound
  readonly select: Bound
  readonly mark: Bound
  readonly commit: Bound
}

const specs = {
  parts: [partsCode(false), ['call'], ['write'], true],
  conclude: [concludeCode, ['call'], ['read', 'write', 'read'], false],
  count: [countCode, ['call'], ['write', 'read'], true],
  countFew: [countFewCode, ['call'], ['write', 'read'], true],
  select: [selectCode, ['call'], ['write', 'write'], false],
  mark: [markCode, ['call'], ['write', 'write'], true],
  commit: [commitCode, ['call', 'uniform'], ['write', 'read'], false],
} as const satisfies Record<keyof Fixed, readonly [string, readonly Access[], readonly Access[], boolean]>

/**
 * Without enhancement those of ranking are not there.
 * @throws 'runtime' when the device refuses one
 */
export async function fixedKernels(kernels: Kernels, shared: Shared, enhancing: boolean): Promise<Fixed> {
  const { state, selection, histogram, parts, flat, pending } = shared
  const buffers: Readonly<Record<keyof Fixed, readonly GPUBuffer[]>> = {
    parts: [parts],
    conclude: [parts, state, selection],
    count: [histogram, selection],
    countFew: [histogram, selection],
    select: [histogram, selection],
    mark: [pending, selection],
    commit: [flat, pending],
  }
  const bound = async (name: keyof Fixed): Promise<readonly [string, Bound]> => {
    const [code, first, second, fed] = specs[name]
    const kernel = await kernels.kernel(name, code, [first, second, ...(fed ? [['read'] as const] : [])])
    return [name, { kernel, group: kernels.group(second, buffers[name]) }]
  }
  const names = enhancing ? (Object.keys(specs) as (keyof Fixed)[]) : (['parts', 'conclude'] as const)
  return Object.fromEntries(await Promise.all(names.map(bound))) as unknown as Fixed
}
