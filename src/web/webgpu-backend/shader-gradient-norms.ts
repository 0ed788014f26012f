import type { DispatchList } from './dispatch-list.js'
import { partsCode, summingOn } from './gradient-norm-shaders.js'
import type { KernelCache } from './kernel-cache.js'
import type { ParameterBuffers } from './parameter-buffers.js'
import type { BoundKernel, SharedBuffers, SharedKernels } from './shared-buffers.js'
import { type Stage, stages } from './step-state.js'

/** A gradient and the buffers of its parameter. */
export interface BoundGradient {
  readonly buffers: ParameterBuffers
  /** The bind group of the gradient. */
  readonly group: GPUBindGroup
}

/** Arguments of `concludeCode`. */
interface Conclusion {
  readonly scalars?: readonly number[]
  /** Elements are clipped to [-limit, limit] for the clipped norm; 0 for none. */
  readonly limit?: number
  /** Id of the refresh whose mask becomes current. */
  readonly refresh?: number
}

/** Computes gradient norms by compute shaders; see `partsCode` and `concludeCode`. */
export class ShaderGradientNorms {
  readonly #kernels: KernelCache
  readonly #shared: SharedBuffers
  readonly #sharedKernels: SharedKernels
  #weighted: Promise<(buffers: ParameterBuffers) => BoundKernel> | undefined

  constructor(kernels: KernelCache, shared: SharedBuffers, sharedKernels: SharedKernels) {
    this.#kernels = kernels
    this.#shared = shared
    this.#sharedKernels = sharedKernels
  }

  /** Adds the norm of gradients. */
  add(dispatches: DispatchList, stage: Stage, tensors: readonly BoundGradient[], conclusion: Conclusion = {}): void {
    this.#add(dispatches, stage, tensors, conclusion, () => this.#sharedKernels.parts)
  }

  /** Adds the norm of theta times gradients. */
  async addWeighted(
    dispatches: DispatchList,
    stage: Stage,
    tensors: readonly BoundGradient[],
    conclusion: Conclusion,
  ): Promise<void> {
    this.#weighted ??= this.#compileWeighted()
    // A failed compilation is repeated at the next call.
    this.#weighted.catch(() => {
      this.#weighted = undefined
    })
    this.#add(dispatches, stage, tensors, conclusion, await this.#weighted)
  }

  #add(
    dispatches: DispatchList,
    stage: Stage,
    tensors: readonly BoundGradient[],
    { scalars = [], limit = 0, refresh = 0 }: Conclusion,
    kernelFor: (buffers: ParameterBuffers) => BoundKernel,
  ): void {
    let offset = 0
    for (const { buffers, group: input } of tensors) {
      const { kernel, group } = kernelFor(buffers)
      const { count, parts } = buffers
      dispatches.add(kernel, [group, input], parts, { count, offset, rest: parts, scalars: [limit] })
      offset += parts
    }
    const { kernel, group } = this.#sharedKernels.conclude
    dispatches.add(kernel, [group], 1, { count: offset, stage: stages[stage], rest: refresh, scalars })
  }

  async #compileWeighted(): Promise<(buffers: ParameterBuffers) => BoundKernel> {
    const accesses = ['write', 'read'] as const
    const code = partsCode(true, summingOn(this.#kernels.device).invocations)
    const kernel = await this.#kernels.kernel('weighted norm', code, [['call'], accesses, ['read']])
    const groups = new Map<ParameterBuffers, BoundKernel>()
    return (buffers) => {
      const known = groups.get(buffers)
      if (known) return known
      const bound = { kernel, group: this.#kernels.group(accesses, [this.#shared.parts, buffers.theta.buffer]) }
      groups.set(buffers, bound)
      return bound
    }
  }
}
