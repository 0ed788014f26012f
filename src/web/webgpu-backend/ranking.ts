import type { Formula } from '../../optim/expr/expr.js'
import { array, formula } from '../../optim/expr/expr.js'
import { WORKGROUP } from '../../optim/expr/wgsl.js'
import type { IreOptimizer } from '../../optim/ire/ire.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import { type FlatMask, type MaskNumbers, rankOf, takeOf } from '../../optim/ire/mask.js'
import { smoothedSquare, smoothedValue } from '../../optim/update-formulas.js'
import type { Fixed, Shared } from './fixed.js'
import { FormulaKernel } from './formula-kernel.js'
import type { Kernels } from './kernels.js'
import type { Normed, Norms } from './norms.js'
import type { Plan } from './plan.js'
import { DIGITS, FEW } from './ranking-shaders.js'
import { loaded, type Refreshed, type RefreshNumbers, refreshed } from './refreshed.js'
import { partsOf, type Slot, wordsOf } from './slots.js'

/** A refresh whose step is not applied yet. */
interface Pending {
  readonly id: number
  readonly step: number
  readonly ranked: readonly Slot[]
}

/** IRE's mask on the device: made by `refresh`, put into force by `commit`; see `refreshMask` for what it is. */
export class Ranking {
  readonly #kernels: Kernels
  readonly #shared: Shared
  readonly #fixed: Fixed
  readonly #norms: Norms
  readonly #signed: boolean
  readonly #smooth: FormulaKernel | null
  readonly #keep: FormulaKernel
  /** By id, the refresh in force and any that may come into force. */
  readonly #refreshes = new Map<number, Refreshed>()
  #lastId = 0
  #pending: Pending | undefined

  constructor(ire: IreOptimizer, kernels: Kernels, shared: Shared, fixed: Fixed, norms: Norms) {
    this.#kernels = kernels
    this.#shared = shared
    this.#fixed = fixed
    this.#norms = norms
    this.#signed = ire.curvature === 'hutchinson'
    const { F } = (this.#signed ? smoothedValue : smoothedSquare).outputs
    const curvature = ({ curvature }: Slot, name: string) => (name === 'F' ? curvature!.kept : curvature!.pending)
    const kernel = (label: string, of: Formula) => new FormulaKernel(label, of, kernels, curvature)
    this.#smooth = ire.beta > 0 ? kernel('smoothed curvature', formula({ pending: F! })) : null
    this.#keep = kernel('kept curvature', formula({ F: array('pending') }))
  }

  /** Makes the mask of a step, by the gradients or estimates of the tensors that are ranked. */
  async refresh(plan: Plan, refresh: MaskRequest, ranked: readonly Normed[]): Promise<void> {
    const { beta } = refresh.ire
    const total = ranked.reduce((sum, { slot }) => sum + slot.count, 0)
    // See `refreshMask`.
    const k = rankOf(refresh.ire, total)
    this.#kernels.device.queue.writeBuffer(this.#shared.selection, 0, Uint32Array.of(0, k, 0, 0, 0))

    this.#norms.add(plan, 'estimate', ranked)
    let values = ranked
    if (this.#smooth) {
      const take = takeOf(refresh)
      for (const { slot, fed } of ranked) await this.#smooth.add(plan, slot, fed, { beta, take })
      values = ranked
        .filter(({ slot }) => slot.count > 0)
        .map(({ slot }) => ({ slot, fed: this.#kernels.fed(slot.curvature!.pending, 4 * slot.count) }))
      this.#norms.add(plan, 'curvature', values)
    }
    if (total > 0) this.#rank(plan, values)
    plan.submit({ before: (encoder) => encoder.clearBuffer(this.#shared.pending) })

    const id = ++this.#lastId
    this.#refreshes.set(id, refreshed(refresh, total))
    this.#pending = { id, step: refresh.step, ranked: ranked.map(({ slot }) => slot) }
  }

  #rank(plan: Plan, values: readonly Normed[]): void {
    const { count, countFew, select, mark } = this.#fixed
    const offset = this.#signed ? 1 : 0
    for (let stage = 0; stage < DIGITS; stage++) {
      for (const { slot, fed } of values) {
        const few = slot.count <= FEW
        const { kernel, group } = few ? countFew : count
        const parts = few ? Math.ceil(slot.count / WORKGROUP) : partsOf(slot.count)
        plan.add(kernel, [group, fed], parts, { count: slot.count, offset, stage, rest: parts })
      }
      plan.add(select.kernel, [select.group], 1, { count: 0, stage })
    }
    for (const { slot, fed } of values)
      plan.add(mark.kernel, [mark.group, fed], Math.ceil(wordsOf(slot.count) / WORKGROUP), {
        count: slot.count,
        offset,
        rest: slot.word,
      })
  }

  /** The id of the refresh that step `step` made, which an `apply` of it puts into force; 0 for none. */
  pendingAt(step: number): number {
    return this.#pending?.step === step ? this.#pending.id : 0
  }

  /** Puts the mask of step `step` into force, where it made one. A mask of an abandoned step is forgotten. */
  async commit(plan: Plan, step: number): Promise<void> {
    const pending = this.#pending
    this.#pending = undefined
    if (pending?.step !== step) return
    const { kernel, group } = this.#fixed.commit
    const { words } = this.#shared
    plan.add(kernel, [group], Math.ceil(words / WORKGROUP), { count: words })
    if (this.#smooth) for (const slot of pending.ranked) await this.#keep.add(plan, slot, null, {})
  }

  /** The numbers of the mask that refresh `id` made; null for none. */
  numbersOf(id: number, counted: RefreshNumbers): MaskNumbers | null {
    for (const older of this.#refreshes.keys()) if (older < id) this.#refreshes.delete(older)
    return this.#refreshes.get(id)?.(counted) ?? null
  }

  /** Takes over a mask that was made elsewhere; returns its id. */
  loaded(mask: FlatMask | null): number {
    this.#pending = undefined
    this.#refreshes.clear()
    if (!mask) return 0
    this.#refreshes.set(++this.#lastId, loaded(mask))
    return this.#lastId
  }
}
