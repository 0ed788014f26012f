import type { AscentRequest, DeviceResidence, ResidenceSpec, StepStats, UpdateRequest } from '../../backend/backend.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { Formula } from '../../optim/expr/expr.js'
import { FLOAT32_MAX } from '../../optim/expr/onnx.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import type { OptimizerState } from '../../optim/state.js'
import { adaptiveAscent, ascent, updateFormula } from '../../optim/update-formulas.js'
import type { DeviceTensors } from '../../runtime/device.js'
import { gone } from '../../runtime/gone.js'
import { OnnxIreError } from '../../util/errors.js'
import { faultError, type Looked } from './faults.js'
import { type Fixed, fixedKernels, type Shared, sharedBuffers } from './fixed.js'
import { FormulaKernel } from './formula-kernel.js'
import { Gradients } from './gradients.js'
import { Kernels } from './kernels.js'
import { Norms } from './norms.js'
import { Plan } from './plan.js'
import { Ranking } from './ranking.js'
import { type Report, Reports } from './reports.js'
import { Memory, parametersOf, type Slot } from './slots.js'
import { FAULT_WORDS, type Stage } from './state.js'
import { fetchState, sendState } from './stored.js'

/** What a residence needs of the runtime it belongs to. */
export interface WebGpuContext {
  readonly gpu: GPUDevice
  /** Resolves when that is lost, with the error that says so. */
  readonly lost: Promise<OnnxIreError>
  /** Carries out works one at a time, in the order they were asked for, and with them the runtime's own. */
  inTurn<T>(work: () => Promise<T>): Promise<T>
}

/**
 * Training state in buffers of onnxruntime's own WebGPU device, updated in place by compute shaders: a step is one submit
 * for each of its calls, and `numbers` reads 48 bytes back. Arithmetic is that of float32, and a GPU may take numbers below
 * 1.2e-38 for 0; the ranking of estimates without smoothing is exact for all of them.
 * @throws 'runtime' when the device has no room for it, or refuses a shader
 */
export async function webGpuResidence(
  context: WebGpuContext,
  spec: ResidenceSpec,
): Promise<DeviceResidence<DeviceTensors>> {
  return context.inTurn(() => WebGpuResidence.make(context, spec))
}

/** What became of an `apply`. */
interface Applied {
  readonly report: Report
  readonly stages: ReadonlyMap<Stage, Looked>
}

class WebGpuResidence implements DeviceResidence<DeviceTensors> {
  readonly parameters: DeviceTensors
  readonly #context: WebGpuContext
  readonly #memory: Memory
  readonly #slots: readonly Slot[]
  readonly #shared: Shared
  readonly #kernels: Kernels
  readonly #plan: Plan
  readonly #norms: Norms
  readonly #gradients: Gradients
  readonly #reports: Reports
  readonly #ranking: Ranking | null
  readonly #updates = new Map<Formula, FormulaKernel>()
  readonly #ascents = new Map<Formula, FormulaKernel>()
  readonly #ascended = new Map<Slot, Slot['theta']>()
  /** The step that calls belong to, and what they looked at; none between steps. */
  #begun: { readonly step: number | null; readonly stages: Map<Stage, Looked> } | undefined
  /** The last `apply`, and its numbers once they were asked for. */
  #applied: { readonly made: Promise<Applied>; numbers?: Promise<StepStats> } | undefined
  #released = false

  static async make(context: WebGpuContext, spec: ResidenceSpec): Promise<WebGpuResidence> {
    const memory = new Memory(context.gpu)
    const enhancing = spec.ire !== null
    try {
      const [slots, shared] = await memory.claimed(() => {
        const slots = memory.slots(spec)
        return [slots, sharedBuffers(memory, slots, enhancing)] as const
      })
      const kernels = Kernels.of(context.gpu)
      const fixed = await fixedKernels(kernels, shared, enhancing)
      return new WebGpuResidence(context, spec, memory, slots, shared, kernels, fixed)
    } catch (error) {
      memory.release()
      throw error
    }
  }

  private constructor(
    context: WebGpuContext,
    spec: ResidenceSpec,
    memory: Memory,
    slots: readonly Slot[],
    shared: Shared,
    kernels: Kernels,
    fixed: Fixed,
  ) {
    this.#context = context
    this.#memory = memory
    this.#slots = slots
    this.#shared = shared
    this.#kernels = kernels
    this.#plan = new Plan(kernels, shared.state)
    this.#norms = new Norms(kernels, shared, fixed)
    this.#gradients = new Gradients(kernels, slots, shared.selection)
    this.#reports = new Reports(context, shared.state)
    this.#ranking = spec.ire ? new Ranking(spec.ire, kernels, shared, fixed, this.#norms) : null
    this.parameters = parametersOf(slots)
  }

  refresh(refresh: MaskRequest, estimates: DeviceTensors): Promise<void> {
    return this.#turn(async () => {
      const ranked = this.#gradients.of(refresh.ranked, estimates, refresh.what)
      this.#begun = undefined
      const { stages } = this.#begin(refresh.step)
      const slots = ranked.map(({ slot }) => slot)
      const place = `step ${refresh.step}`
      stages.set('estimate', { place, what: refresh.what, slots })
      stages.set('curvature', { place, what: 'curvature estimate F', slots })
      await this.#ranking!.refresh(this.#plan, refresh, ranked)
    })
  }

  ascend(
    { sam: { rho, adaptive }, step, trained, what }: AscentRequest,
    gradients: DeviceTensors,
  ): Promise<DeviceTensors> {
    return this.#turn(async () => {
      const tensors = this.#gradients.of(trained, gradients, what)
      // A second ascent is that of a step begun anew.
      if (this.#begun?.stages.has('ascent')) this.#begun = undefined
      const { stages } = this.#begin(step)
      stages.set('ascent', { place: `step ${step}`, what, slots: tensors.map(({ slot }) => slot) })
      const conclusion = { scalars: [rho] }
      if (adaptive) await this.#norms.addWeighted(this.#plan, 'ascent', tensors, conclusion)
      else this.#norms.add(this.#plan, 'ascent', tensors, conclusion)
      const ascended = await this.#ascendedOf(tensors.map(({ slot }) => slot))
      const kernel = this.#kernelOf(this.#ascents, adaptive ? adaptiveAscent : ascent, (slot, array) =>
        array === 'ascended' ? ascended.get(slot)!.buffer : slot.theta.buffer,
      )
      for (const { slot, fed } of tensors) await kernel.add(this.#plan, slot, fed, {})
      this.#plan.submit()
      const moved = tensors.map(({ slot }) => [slot.name, ascended.get(slot)!] as const)
      return { ...this.parameters, ...Object.fromEntries(moved) }
    })
  }

  apply(application: UpdateRequest, gradients: DeviceTensors): Promise<void> {
    // What nobody asked for.
    if (!this.#applied?.numbers)
      this.#applied?.made.then(
        ({ report }) => report.drop(),
        () => {},
      )
    const made = this.#turn(() => this.#apply(application, gradients))
    this.#applied = { made }
    return made.then(() => {})
  }

  async #apply(application: UpdateRequest, gradients: DeviceTensors): Promise<Applied> {
    const { step, formula, tensors, kappa, what } = application
    const names = tensors.map(({ name }) => name)
    const normed = this.#gradients.of(names, gradients, what)
    const { stages } = this.#begin(step)
    this.#begun = undefined
    stages.set('update', { place: `step ${step}`, what, slots: normed.map(({ slot }) => slot) })
    const clipNorm = application.clipNorm > FLOAT32_MAX ? 0 : application.clipNorm
    const limit = application.clipValue > FLOAT32_MAX ? 0 : application.clipValue
    const plan = this.#plan
    this.#norms.add(plan, 'update', normed, {
      scalars: [clipNorm, limit],
      limit: clipNorm > 0 ? limit : 0,
      refresh: this.#ranking?.pendingAt(step) ?? 0,
    })
    await this.#ranking?.commit(plan, step)
    const enhanced = this.#ranking !== null
    const kernel = this.#kernelOf(
      this.#updates,
      updateFormula(formula, { clipped: limit > 0, enhanced }),
      (slot, array) =>
        array === 'theta' ? slot.theta.buffer : array === 'n' ? this.#shared.flat : slot.moments[array]!,
    )
    for (const [i, { slot, fed }] of normed.entries()) {
      const { coefficients, enhanced } = tensors[i]!
      await kernel.add(plan, slot, fed, { ...coefficients, limit, kappa: enhanced ? kappa : 0 })
    }
    return { report: this.#submitReporting(), stages }
  }

  #submitReporting(): Report {
    let report: Report
    this.#plan.submit({
      after: (encoder) => {
        report = this.#reports.copy(encoder)
      },
    })
    return report!
  }

  async numbers(): Promise<StepStats> {
    const applied = this.#applied
    if (!applied) throw new OnnxIreError('runtime', 'no step was applied: there are no numbers of one')
    applied.numbers ??= this.#numbersOf(applied.made)
    return applied.numbers
  }

  async #numbersOf(applied: Promise<Applied>): Promise<StepStats> {
    const { report, stages } = await applied
    const { fault, norm, refresh, counts } = await report.read()
    if (fault) throw faultError(fault, stages)
    const none = { flatShare: 0, zeroShare: null, threshold: null }
    const { flatShare, zeroShare, threshold } = this.#ranking?.numbersOf(refresh, counts) ?? none
    return { gradientNorm: norm, flatShare, zeroShare, threshold }
  }

  async requireFinite(names: readonly string[], gradients: DeviceTensors, place: string, what: string): Promise<void> {
    const { report, stages } = await this.#turn(async () => {
      const tensors = this.#gradients.of(names, gradients, what)
      const { stages } = this.#begun ?? this.#begin(null)
      this.#begun = undefined
      stages.set('check', { place, what, slots: tensors.map(({ slot }) => slot) })
      this.#norms.add(this.#plan, 'check', tensors)
      return { report: this.#submitReporting(), stages }
    })
    const { fault } = await report.read()
    if (fault) throw faultError(fault, stages)
  }

  load(parameters: ParameterArrays, state: OptimizerState): Promise<void> {
    return this.#turn(async () => {
      this.#begun = undefined
      const refresh = this.#ranking?.loaded(state.mask) ?? 0
      sendState(this.#context.gpu, this.#slots, this.#shared, parameters, state, refresh)
    })
  }

  store(parameters: ParameterArrays, state: OptimizerState): Promise<void> {
    return this.#turn(async () => {
      const numbersOf = this.#ranking?.numbersOf.bind(this.#ranking) ?? null
      await fetchState(this.#context.gpu, this.#slots, this.#shared, parameters, state, numbersOf)
    })
  }

  release(): Promise<void> {
    if (this.#released) return Promise.resolve()
    return this.#turn(async () => {
      this.#released = true
      this.#memory.release()
      this.#plan.release()
      this.#reports.release()
    })
  }

  #turn<T>(work: () => Promise<T>): Promise<T> {
    return this.#context.inTurn(async () => {
      if (this.#released) throw gone('residence', 'released')
      try {
        return await work()
      } catch (error) {
        this.#plan.clear()
        throw error
      }
    })
  }

  /** The step that a call belongs to: with the first of its calls what was found before is forgotten. */
  #begin(step: number | null) {
    if (this.#begun?.step === step) return this.#begun
    this.#context.gpu.queue.writeBuffer(this.#shared.state, 0, new Uint32Array(FAULT_WORDS))
    this.#begun = { step, stages: new Map() }
    return this.#begun
  }

  /** Where theta + e is written, made when it is first needed. */
  async #ascendedOf(slots: readonly Slot[]): Promise<ReadonlyMap<Slot, Slot['theta']>> {
    const missing = slots.filter((slot) => !this.#ascended.has(slot))
    if (missing.length > 0)
      await this.#memory.claimed(() => {
        for (const slot of missing) this.#ascended.set(slot, this.#memory.like(slot, 'ascended parameter'))
      })
    return this.#ascended
  }

  #kernelOf(
    kernels: Map<Formula, FormulaKernel>,
    formula: Formula,
    arrays: (slot: Slot, array: string) => GPUBuffer,
  ): FormulaKernel {
    const known = kernels.get(formula)
    if (known) return known
    const made = new FormulaKernel(kernels === this.#updates ? 'update' : 'ascent', formula, this.#kernels, arrays)
    kernels.set(formula, made)
    return made
  }
}
