import type { Bound, Fixed, Shared } from './fixed.js'
import type { Kernels } from './kernels.js'
import { partsCode } from './norm-shaders.js'
import type { Plan } from './plan.js'
import { partsOf, type Slot } from './slots.js'
import { STAGES, type Stage } from './state.js'

/** What a norm is taken of. */
export interface Normed {
  readonly slot: Slot
  /** The bind group of its gradient. */
  readonly fed: GPUBindGroup
}

/** What follows from a norm: the scalars of `concludeCode`, and the refresh that an update puts into force. */
export interface Conclusion {
  readonly scalars?: readonly number[]
  /** Elements are clipped to it before they are summed up once more; 0 for none. */
  readonly limit?: number
  readonly refresh?: number
}

/** Adds norms over tensors to plans; see `partsCode` and `concludeCode`. */
export class Norms {
  readonly #kernels: Kernels
  readonly #shared: Shared
  readonly #fixed: Fixed
  #weighted: Promise<(slot: Slot) => Bound> | undefined

  constructor(kernels: Kernels, shared: Shared, fixed: Fixed) {
    this.#kernels = kernels
    this.#shared = shared
    this.#fixed = fixed
  }

  /** The norm of these gradients. */
  add(plan: Plan, stage: Stage, tensors: readonly Normed[], conclusion: Conclusion = {}): void {
    this.#add(plan, stage, tensors, conclusion, () => this.#fixed.parts)
  }

  /** The norm of theta times these gradients. */
  async addWeighted(plan: Plan, stage: Stage, tensors: readonly Normed[], conclusion: Conclusion): Promise<void> {
    this.#weighted ??= this.#compileWeighted()
    // One that failed is tried anew when it is needed again.
    this.#weighted.catch(() => {
      this.#weighted = undefined
    })
    this.#add(plan, stage, tensors, conclusion, await this.#weighted)
  }

  #add(
    plan: Plan,
    stage: Stage,
    tensors: readonly Normed[],
    { scalars = [], limit = 0, refresh = 0 }: Conclusion,
    boundTo: (slot: Slot) => Bound,
  ): void {
    let offset = 0
    for (const { slot, fed } of tensors) {
      const { kernel, group } = boundTo(slot)
      const parts = partsOf(slot.count)
      plan.add(kernel, [group, fed], parts, { count: slot.count, offset, rest: parts, scalars: [limit] })
      offset += parts
    }
    const { kernel, group } = this.#fixed.conclude
    plan.add(kernel, [group], 1, { count: offset, stage: STAGES[stage], rest: refresh, scalars })
  }

  async #compileWeighted(): Promise<(slot: Slot) => Bound> {
    const accesses = ['write', 'read'] as const
    const kernel = await this.#kernels.kernel('weighted norm', partsCode(true), [['call'], accesses, ['read']])
    const groups = new Map<Slot, Bound>()
    return (slot) => {
      const known = groups.get(slot)
      if (known) return known
      const bound = { kernel, group: this.#kernels.group(accesses, [this.#shared.parts, slot.theta.buffer]) }
      groups.set(slot, bound)
      return bound
    }
  }
}
