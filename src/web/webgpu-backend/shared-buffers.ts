import { bufferUsage } from './constants.js'
import { concludeCode, partBytes, partsCode, summingOn } from './gradient-norm-shaders.js'
import type { Access, Kernel, KernelCache } from './kernel-cache.js'
import { commitCode, countCode, countFewCode, histogramWords, markCode, selectCode } from './mask-shaders.js'
import { type BufferAllocator, type ParameterBuffers, wordCount } from './parameter-buffers.js'
import { selectionBytes, stateBytes } from './step-state.js'

/** Buffers that all parameters share. */
export interface SharedBuffers {
  /** See `stateStruct`. */
  readonly state: GPUBuffer
  /** State of the selection of the k-th largest. */
  readonly selection: GPUBuffer
  readonly histogram: GPUBuffer
  readonly parts: GPUBuffer
  /** The current mask, one bit per element. */
  readonly flat: GPUBuffer
  /** The mask of a step that is not applied yet. */
  readonly pending: GPUBuffer
  /** Number of words of a mask; 0 without IRE. */
  readonly words: number
}

export function createSharedBuffers(
  allocator: BufferAllocator,
  parameters: readonly ParameterBuffers[],
  hasMask: boolean,
): SharedBuffers {
  const words = hasMask ? parameters.reduce((sum, { count }) => sum + wordCount(count), 0) : 0
  const parts = parameters.reduce((sum, { parts }) => sum + parts, 0)
  return {
    state: allocator.buffer('state', stateBytes, bufferUsage.uniform),
    selection: allocator.buffer('selection', selectionBytes),
    histogram: allocator.buffer('histogram', hasMask ? 4 * histogramWords : 0),
    parts: allocator.buffer('sums of squares', partBytes * parts),
    flat: allocator.buffer('mask', 4 * words),
    pending: allocator.buffer('pending mask', 4 * words),
    words,
  }
}

/** A kernel and its group 1, which is the same for all calls. */
export interface BoundKernel {
  readonly kernel: Kernel
  readonly group: GPUBindGroup
}

/** Kernels that do not depend on the optimizer. */
export interface SharedKernels {
  readonly parts: BoundKernel
  readonly conclude: BoundKernel
  readonly count: BoundKernel
  readonly countFew: BoundKernel
  readonly select: BoundKernel
  readonly mark: BoundKernel
  readonly commit: BoundKernel
}

const specs = {
  parts: [(invocations) => partsCode(false, invocations), ['call'], ['write'], true],
  conclude: [concludeCode, ['call'], ['read', 'write', 'read'], false],
  count: [countCode, ['call'], ['write', 'read'], true],
  countFew: [() => countFewCode, ['call'], ['write', 'read'], true],
  select: [selectCode, ['call'], ['write', 'write'], false],
  mark: [() => markCode, ['call'], ['write', 'read'], true],
  commit: [() => commitCode, ['call', 'uniform'], ['write', 'read'], false],
} as const satisfies Record<
  keyof SharedKernels,
  readonly [code: (invocations: number) => string, readonly Access[], readonly Access[], hasInput: boolean]
>

/**
 * Compiles the shared kernels. Without a mask, the kernels of ranking are left out.
 * @throws 'runtime' if WebGPU rejects a shader
 */
export async function createSharedKernels(
  kernels: KernelCache,
  shared: SharedBuffers,
  hasMask: boolean,
): Promise<SharedKernels> {
  const { state, selection, histogram, parts, flat, pending } = shared
  const buffers: Readonly<Record<keyof SharedKernels, readonly GPUBuffer[]>> = {
    parts: [parts],
    conclude: [parts, state, selection],
    count: [histogram, selection],
    countFew: [histogram, selection],
    select: [histogram, selection],
    mark: [pending, selection],
    commit: [flat, pending],
  }
  const { invocations } = summingOn(kernels.device)
  const bind = async (name: keyof SharedKernels): Promise<readonly [string, BoundKernel]> => {
    const [code, first, second, hasInput] = specs[name]
    const groups = [first, second, ...(hasInput ? [['read'] as const] : [])]
    const kernel = await kernels.kernel(name, code(invocations), groups)
    return [name, { kernel, group: kernels.group(second, buffers[name]) }]
  }
  const names = hasMask ? (Object.keys(specs) as (keyof SharedKernels)[]) : (['parts', 'conclude'] as const)
  return Object.fromEntries(await Promise.all(names.map(bind))) as unknown as SharedKernels
}
