import { array, type Formula, formula } from '../../optim/expr/expr.js'
import { workgroupSize } from '../../optim/expr/wgsl.js'
import type { IreOptimizer } from '../../optim/ire/ire.js'
import {
  type FlatMask,
  type MaskRequest,
  type MaskStats,
  maskStats,
  rankOf,
  smoothedSquareFormula,
  smoothedValueFormula,
  takeOf,
} from '../../optim/ire/mask.js'
import type { DispatchList } from './dispatch-list.js'
import { FormulaKernel } from './formula-kernel.js'
import type { KernelCache } from './kernel-cache.js'
import { digitCount, maxDirectlyCounted } from './mask-shaders.js'
import { type ParameterBuffers, wordCount } from './parameter-buffers.js'
import type { BoundGradient, ShaderGradientNorms } from './shader-gradient-norms.js'
import type { SharedBuffers, SharedKernels } from './shared-buffers.js'
import type { MaskCounts } from './step-state.js'

/** A refresh whose step is not applied yet. */
interface PendingRefresh {
  readonly id: number
  readonly step: number
  readonly ranked: readonly ParameterBuffers[]
}

/**
 * IRE's mask in GPU memory: computed by `refresh`, made current by `commit`. The definition of the mask is
 * `refreshMask`.
 */
export class GpuMask {
  readonly #kernels: KernelCache
  readonly #shared: SharedBuffers
  readonly #sharedKernels: SharedKernels
  readonly #norms: ShaderGradientNorms
  readonly #signed: boolean
  /** Computes F of the pending refresh; null without smoothing. */
  readonly #smooth: FormulaKernel | null
  /** Copies F of the pending refresh to the current F. */
  readonly #commitCurvature: FormulaKernel
  /**
   * Functions from device counts to statistics: of the current refresh and of refreshes that may become current, by id.
   */
  readonly #refreshes = new Map<number, (counts: MaskCounts) => MaskStats>()
  #lastId = 0
  #pending: PendingRefresh | undefined

  constructor(
    ire: IreOptimizer,
    kernels: KernelCache,
    shared: SharedBuffers,
    sharedKernels: SharedKernels,
    norms: ShaderGradientNorms,
  ) {
    this.#kernels = kernels
    this.#shared = shared
    this.#sharedKernels = sharedKernels
    this.#norms = norms
    this.#signed = ire.curvature === 'hutchinson'
    const { F } = (this.#signed ? smoothedValueFormula : smoothedSquareFormula).outputs
    const bufferOf = ({ curvature }: ParameterBuffers, name: string) =>
      name === 'F' ? curvature!.current : curvature!.pending
    const kernel = (label: string, formula: Formula) => new FormulaKernel(label, formula, kernels, bufferOf)
    this.#smooth = ire.beta > 0 ? kernel('smoothed curvature', formula({ pending: F! })) : null
    this.#commitCurvature = kernel('committed curvature', formula({ F: array('pending') }))
  }

  /** Computes the mask of a step from the gradients or estimates of the ranked tensors. */
  async refresh(dispatches: DispatchList, request: MaskRequest, ranked: readonly BoundGradient[]): Promise<void> {
    const { beta } = request.ire
    const total = ranked.reduce((sum, { buffers }) => sum + buffers.count, 0)
    const k = rankOf(request.ire, total)
    this.#kernels.device.queue.writeBuffer(this.#shared.selection, 0, Uint32Array.of(0, k, 0, total - k, 0))

    this.#norms.add(dispatches, 'estimate', ranked)
    let values = ranked
    if (this.#smooth) {
      const take = takeOf(request)
      for (const { buffers, group } of ranked) await this.#smooth.add(dispatches, buffers, group, { beta, take })
      values = ranked
        .filter(({ buffers }) => buffers.count > 0)
        .map(({ buffers }) => ({
          buffers,
          group: this.#kernels.inputGroup(buffers.curvature!.pending, 4 * buffers.count),
        }))
      this.#norms.add(dispatches, 'curvature', values)
    }
    if (total > 0) this.#rank(dispatches, values)
    dispatches.submit({ before: (encoder) => encoder.clearBuffer(this.#shared.pending) })

    const id = ++this.#lastId
    this.#refreshes.set(id, ({ flat, zero, cut }) =>
      maskStats(request, total, { cut: total === 0 ? 0 : numberOfKey(cut, this.#signed), flat, zero }),
    )
    this.#pending = { id, step: request.step, ranked: ranked.map(({ buffers }) => buffers) }
  }

  #rank(dispatches: DispatchList, values: readonly BoundGradient[]): void {
    const { count, countFew, select, mark } = this.#sharedKernels
    const offset = this.#signed ? 1 : 0
    for (let stage = 0; stage < digitCount; stage++) {
      for (const { buffers, group: input } of values) {
        const few = buffers.count <= maxDirectlyCounted
        const { kernel, group } = few ? countFew : count
        const parts = few ? Math.ceil(buffers.count / workgroupSize) : buffers.parts
        dispatches.add(kernel, [group, input], parts, { count: buffers.count, offset, stage, rest: parts })
      }
      dispatches.add(select.kernel, [select.group], 1, { count: 0, stage })
    }
    for (const { buffers, group } of values)
      dispatches.add(mark.kernel, [mark.group, group], Math.ceil(wordCount(buffers.count) / workgroupSize), {
        count: buffers.count,
        offset,
        rest: buffers.word,
      })
  }

  /** Returns the id of the refresh of step `step`, for `applyUpdate` to make it current; 0 for none. */
  pendingAt(step: number): number {
    return this.#pending?.step === step ? this.#pending.id : 0
  }

  /** Makes the mask of step `step` current, if the step refreshed it. The mask of an abandoned step is dropped. */
  async commit(dispatches: DispatchList, step: number): Promise<void> {
    const pending = this.#pending
    this.#pending = undefined
    if (pending?.step !== step) return
    const { kernel, group } = this.#sharedKernels.commit
    const { words } = this.#shared
    dispatches.add(kernel, [group], Math.ceil(words / workgroupSize), { count: words })
    if (this.#smooth)
      for (const buffers of pending.ranked) await this.#commitCurvature.add(dispatches, buffers, null, {})
  }

  /** Returns the statistics of the mask of refresh `id`; null for no refresh. */
  statsOf(id: number, counts: MaskCounts): MaskStats | null {
    for (const older of this.#refreshes.keys()) if (older < id) this.#refreshes.delete(older)
    return this.#refreshes.get(id)?.(counts) ?? null
  }

  /** Takes over the mask of a loaded state. Returns the id of its refresh; 0 for no mask. */
  load(mask: FlatMask | null): number {
    this.#pending = undefined
    this.#refreshes.clear()
    if (!mask) return 0
    const { refreshedAt, threshold, flatShare, zeroShare } = mask
    this.#refreshes.set(++this.#lastId, () => ({ refreshedAt, threshold, flatShare, zeroShare }))
    return this.#lastId
  }
}

/** Inverts the shader's `keyOf`. */
function numberOfKey(key: number, signed: boolean): number {
  const bits = !signed ? key : key >= 0x80000000 ? key - 0x80000000 : ~key
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!
}
