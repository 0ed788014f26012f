import { type FloatArray, mapArrays, zeroArrayLike } from '../ir/float-array.js'
import type { Tensor, Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { compileGraph } from '../lowering/compile.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { addScaled, type Gradients, type MomentArray, type ParameterArrays, scaleArrays } from '../optim/arrays.js'
import { createRules, type FormulaRule, isGraphRule, type Rules, updateFormula } from '../optim/base-optimizer.js'
import { updateAverages } from '../optim/ema.js'
import { evaluate } from '../optim/expr/evaluate.js'
import { ParallelEvaluation } from '../optim/expr/parallel.js'
import { addUp } from '../optim/expr/pieces.js'
import type { Scalars, Sums } from '../optim/expr/program.js'
import { clipFactor, clippedNorm, finiteNorm, finiteNormTogether } from '../optim/gradient-norm.js'
import { countAlone, countTogether } from '../optim/ire/counting.js'
import { type FlatMask, type MaskRequest, maskRefresh } from '../optim/ire/mask.js'
import { type Layers, type Optimizer, unwrap } from '../optim/optimizer.js'
import { adaptiveAscentFormula, adaptiveNormFormula, ascentFormula, samMoment } from '../optim/sam.js'
import { sgd } from '../optim/sgd.js'
import type { Shard } from '../optim/shard.js'
import { momentsOf, type OptimizerState } from '../optim/state.js'
import { clearSubnormals } from '../optim/subnormals.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord, getOwn, mergeRecords } from '../util/record.js'
import {
  type AscentRequest,
  type BackendSpec,
  type GradientProgram,
  gradientsByParameter,
  isGradient,
  parameterOf,
  type StepBackend,
  type StepStats,
  selectInputs,
  type TensorUpdate,
  type TrainingBackend,
  type TrainingState,
  toTensors,
  type UpdateRequest,
} from './backend.js'
import { GraphUpdates, type TensorGraph } from './graph-updates.js'
import { SamVariant } from './sam-variants.js'

/** Optimizer steps on host arrays. Parameters and state are written in place, by `applyUpdate` only. */
export class HostStepBackend implements StepBackend<ParameterArrays> {
  readonly rules: Rules
  readonly #parallel: ParallelEvaluation | undefined
  readonly #variant: SamVariant | null
  readonly #layers: Layers
  readonly #shard: Shard | undefined
  #loaded: Loaded | undefined
  /** The mask of a step that is not applied yet. */
  #pendingMask: FlatMask | null = null
  /** Masks that this backend created. */
  readonly #ownMasks = new WeakSet<FlatMask>()
  /**
   * Arrays of the mask before the current one, for the next refresh. New arrays in shared memory would be freed late:
   * the garbage collector of neither thread counts the memory that its garbage refers to.
   */
  #spareMask: FlatMask['flat'] | undefined
  #gradientNorm = 0

  /**
   * @param parallel evaluates formulas in several threads
   * @param shard the share of this process, if the state is divided among processes
   * @throws OnnxIreError `invalid-data` if the state belongs to another optimizer or other parameters, `invalid-option`
   * for an optimizer that needs `rules`
   */
  constructor(
    optimizer: Optimizer,
    state?: Pick<TrainingState, 'parameters' | 'optimizer'>,
    rules: Rules = createRules(unwrap(optimizer).base),
    parallel?: ParallelEvaluation,
    shard?: Shard,
  ) {
    this.rules = rules
    this.#parallel = parallel
    this.#shard = shard
    this.#layers = unwrap(optimizer)
    const { sam } = this.#layers
    this.#variant = sam && samMoment(sam) ? new SamVariant(sam, () => this.#loaded!.state) : null
    if (state) this.load(state)
  }

  load({ parameters, optimizer: state }: TrainingState): void {
    this.#parallel?.release()
    this.#loaded = {
      parameters,
      state,
      moments: momentsOf(this.#layers, this.rules, parameters, state, this.#shard?.holds),
      count: Object.keys(parameters).length,
    }
    this.#pendingMask = null
    this.#spareMask = undefined
    this.#gradientNorm = 0
  }

  get parameters(): ParameterArrays {
    return this.#loaded!.parameters
  }

  get estimate(): Readonly<Record<string, number>> {
    return this.#loaded!.state.estimate ?? this.#layers.base.estimate?.initial ?? {}
  }

  /** Returns a promise only if the state is divided among processes. */
  refreshMask(request: MaskRequest, estimates: Gradients): void | Promise<void> {
    const { parameters, state } = this.#loaded!
    const shard = this.#shard
    const settings = { parallel: this.#parallel, spare: this.#spareMask, owns: shard?.owns }
    this.#spareMask = undefined
    const refresh = maskRefresh(request, parameters, estimates, state.mask, settings)
    const finish = (mask: FlatMask) => {
      this.#pendingMask = mask
      this.#ownMasks.add(mask)
    }
    return shard ? countTogether(refresh, shard.sum).then(finish) : finish(countAlone(refresh))
  }

  ascend(request: AscentRequest, given: Gradients): ParameterArrays {
    const { step, what } = request
    const trained = request.tensors.map(({ name }) => name)
    const { rho, adaptive } = request.sam
    const parameters = this.#select(trained)
    const whole = finiteNorm(parameters, given, `step ${step}`, what, this.#parallel)
    const gradients = this.#variant?.direction(request, given) ?? given
    const norm = gradients === given ? whole : finiteNorm(parameters, gradients, `step ${step}`, what, this.#parallel)
    const scale = rho / ((adaptive ? weightedNorm(parameters, gradients, this.#parallel) : norm) + 1e-12)
    const ascended = ascentArrays(this.#loaded!.state, parameters)
    const tensors = {
      theta: trained.map((name) => parameters[name]!),
      g: trained.map((name) => gradients[name]!),
      ascended: trained.map((name) => ascended[name]!),
    }
    evaluate(adaptive ? adaptiveAscentFormula : ascentFormula, tensors, { scale }, this.#parallel)
    return mergeRecords(this.parameters, ascended)
  }

  /** Returns a promise only if a rule is a graph, or the state is divided among processes. */
  applyUpdate(request: UpdateRequest, given: Gradients): void | Promise<void> {
    const norm = this.#norm(
      request.tensors.map(({ name }) => name),
      given,
      `step ${request.step}`,
      request.what,
    )
    return norm instanceof Promise
      ? norm.then((whole) => this.#applyUpdate(request, given, whole))
      : this.#applyUpdate(request, given, norm)
  }

  /** Computes the norm of gradients, of which this process may have a part. Throws `not-finite`. */
  #norm(names: readonly string[], gradients: Gradients, place: string, what: string): number | Promise<number> {
    const all = [this.#select(names), gradients, place, what, this.#parallel] as const
    const shard = this.#shard
    return shard?.dividesGradients ? finiteNormTogether(shard, ...all) : finiteNorm(...all)
  }

  /** @param whole the norm of the gradients */
  #applyUpdate(request: UpdateRequest, given: Gradients, whole: number): void | Promise<void> {
    const { step, kappa, clipValue, clipNorm, what } = request
    const { state, moments } = this.#loaded!
    const shard = this.#shard
    const trained = this.#select(request.tensors.map(({ name }) => name))
    const tensors = shard ? request.tensors.filter(({ name }) => shard.owns(name)) : request.tensors
    const gradients = this.#variant?.gradients(step, Object.keys(trained), given) ?? given
    const norm = gradients === given ? whole : finiteNorm(trained, gradients, `step ${step}`, what, this.#parallel)
    const normAfterClipValue =
      clipNorm < Infinity ? clippedNorm(trained, gradients, norm, clipValue, this.#parallel) : norm
    const scale = clipFactor(normAfterClipValue, clipNorm)
    const clipped = norm > clipValue
    // A pending mask of another step is left from an abandoned step.
    const mask = this.#pendingMask?.refreshedAt === step ? this.#pendingMask : state.mask
    const isEnhanced = (name: string) => kappa > 0 && getOwn(mask?.flat, name) !== undefined
    const common = { scale, limit: clipValue, kappa }
    const flat = mask?.flat ?? {}
    const graphs = tensors.flatMap(({ name, rule, coefficients, enhanced }) => {
      if (!isGraphRule(rule)) return []
      const own = Object.fromEntries(rule.moments.map((moment) => [moment, moments[moment]![name]!]))
      const arrays: Readonly<Record<string, MomentArray>> = { theta: trained[name]!, g: gradients[name]!, ...own }
      const mask = enhanced && isEnhanced(name) ? flat[name]! : undefined
      return [{ name, rule, arrays, mask, scalars: { ...coefficients, ...common } }]
    })
    const finish = (sums: Sums) => {
      const { estimate } = this.#layers.base
      // A step that trains no tensor has no sums.
      if (estimate && Object.keys(sums).length > 0) state.estimate = estimate.next(this.estimate, sums)
      if (state.mask && mask !== state.mask && this.#ownMasks.has(state.mask)) this.#spareMask = state.mask.flat
      state.mask = mask
      this.#variant?.commit(step)
      const { curvature } = mask ?? {}
      clearSubnormals(step, curvature ? { ...moments, curvature } : moments, this.#parallel)
      this.#pendingMask = null
      this.#gradientNorm = norm
    }
    const applyFormulas = () => this.#applyFormulas(tensors, isEnhanced, { trained, gradients, flat }, clipped, common)
    const sums = graphs.length === 0 ? applyFormulas() : this.#applyGraphs(graphs).then(applyFormulas)
    if (shard)
      return Promise.resolve(sums)
        .then((own) => this.#shareUpdate(shard, trained, own))
        .then(finish)
    return sums instanceof Promise ? sums.then(finish) : finish(sums)
  }

  /** Gets the updates of the other processes. Returns the sums over all tensors. */
  async #shareUpdate(shard: Shard, trained: ParameterArrays, own: Sums): Promise<Sums> {
    const { base } = this.#layers
    await shard.share(trained)
    for (const moment of Object.keys(base.evaluation ?? {})) {
      const arrays = this.#loaded!.moments[moment]!
      await shard.share(mapArrays(trained, (_, name) => getOwn(arrays, name) as FloatArray))
    }
    const names = Object.keys(base.formula.squares)
    if (names.length === 0) return own
    // A process that owns none of the tensors has no sums.
    const totals = Float64Array.from(names, (name) => getOwn(own, name) ?? 0)
    await shard.sum([totals])
    return Object.fromEntries(names.map((name, i) => [name, totals[i]!]))
  }

  /** Updates one tensor after the other, so that the results of one tensor at a time are in memory. */
  async #applyGraphs(updates: readonly TensorGraph[]): Promise<void> {
    for (const update of updates)
      for (const [array, values] of Object.entries(await this.computeGraph(update))) update.arrays[array]!.set(values)
  }

  /** Computes a tensor's next `theta` and moments by a graph. */
  protected computeGraph({ name }: TensorGraph): Promise<Readonly<Record<string, MomentArray>>> {
    throw new OnnxIreError('invalid-option', `the update of '${name}' is a graph, which needs a runtime`)
  }

  #applyFormulas(
    tensors: readonly TensorUpdate[],
    isEnhanced: (name: string) => boolean,
    { trained, gradients, flat }: { trained: ParameterArrays; gradients: Gradients; flat: FlatMask['flat'] },
    clipped: boolean,
    common: Scalars,
  ): Sums {
    const { moments } = this.#loaded!
    const sums: Sums[] = []
    for (const { rule, coefficients, enhanced, names } of groupTensors(tensors, isEnhanced)) {
      const select = (arrays: Readonly<Record<string, FloatArray | Uint8Array>>) => names.map((name) => arrays[name]!)
      const arrays: Record<string, readonly (FloatArray | Uint8Array)[]> = {
        theta: select(trained),
        g: select(gradients),
        ...Object.fromEntries(rule.moments.map((moment) => [moment, select(moments[moment]!)])),
        ...(enhanced ? { n: select(flat) } : {}),
      }
      const update = updateFormula(rule.formula, { clipped, enhanced })
      sums.push(evaluate(update, arrays, { ...coefficients, ...common }, this.#parallel))
    }
    return addUp(sums)
  }

  stats(): StepStats {
    const { flatShare = 0, zeroShare = null, threshold = null } = this.#loaded!.state.mask ?? {}
    return { gradientNorm: this.#gradientNorm, flatShare, zeroShare, threshold }
  }

  /** Returns a promise only if the gradients are divided among processes. */
  checkFinite(names: readonly string[], gradients: Gradients, place: string, what: string): void | Promise<void> {
    const norm = this.#norm(names, gradients, place, what)
    if (norm instanceof Promise) return norm.then(() => {})
  }

  #select(names: readonly string[]): Readonly<Record<string, FloatArray>> {
    const { parameters, count } = this.#loaded!
    if (names.length === count) return parameters
    return Object.fromEntries(names.map((name) => [name, parameters[name]!]))
  }
}

/** Training state in host arrays, fed to the runtime at every run. */
export class HostBackend extends HostStepBackend implements TrainingBackend<ParameterArrays> {
  readonly fusesCurvature = true
  readonly #runtime: Runtime
  readonly #threads: ParallelEvaluation | undefined
  readonly #values: ReadonlyMap<string, Value>
  /** Tensors that gradients are written to, by output. All programs share them: a gradient is read before the next. */
  readonly #gradients = new Map<string, Tensor>()
  readonly #graphUpdates: GraphUpdates
  /** Sums of gradients in use, and the arrays of released ones by name, for the next sums. */
  readonly #sums = new Set<ParameterArrays>()
  readonly #freeSums = new Map<string, FloatArray[]>()
  #averages: ParameterArrays | null = null

  constructor(runtime: Runtime, { optimizer, parameters, rules, shard }: BackendSpec) {
    const threads = runtime.helpers && new ParallelEvaluation(runtime.helpers)
    super(optimizer, undefined, rules, threads, shard)
    this.#runtime = runtime
    this.#threads = threads
    this.#graphUpdates = new GraphUpdates(runtime)
    this.#values = parameters
  }

  /** Creates a backend for gradients and evaluation at given parameters, without a training state. */
  static forEvaluation(runtime: Runtime, parameters: BackendSpec['parameters'] = new Map()): HostBackend {
    return new HostBackend(runtime, { optimizer: sgd(), parameters })
  }

  get averages(): ParameterArrays | null {
    return this.#averages
  }

  async compile(spec: GraphSpec): Promise<GradientProgram<ParameterArrays>> {
    const program = await compileGraph(this.#runtime, spec)
    let last: ProgramTensors | undefined
    return {
      run: async (feeds, parameters) => {
        // The same arrays at every step, except those of SAM's ascent.
        if (last?.parameters !== parameters) last = this.#tensorsOf(program, parameters)
        const { inputs, targets, gradients } = last
        const all = mergeRecords(feeds, inputs)
        if (program.runInto) return { outputs: await program.runInto(all, targets), gradients }
        const outputs = await program.run(all)
        return { outputs, gradients: mapArrays(gradientsByParameter(outputs), arrayOfTensor) }
      },
      release: () => program.release(),
    }
  }

  #tensorsOf({ inputNames, outputNames }: Program, parameters: ParameterArrays): ProgramTensors {
    const targets = this.#gradientTensors(outputNames, parameters)
    return {
      parameters,
      inputs: selectInputs(inputNames, toTensors(this.#values, parameters)),
      targets,
      gradients: mapArrays(gradientsByParameter(targets), arrayOfTensor),
    }
  }

  /** The tensors of the gradients among `outputs`, created at the first call. */
  #gradientTensors(outputs: readonly string[], parameters: ParameterArrays): Tensors {
    const tensors: Record<string, Tensor> = emptyRecord()
    for (const output of outputs) {
      const value = isGradient(output) ? this.#values.get(parameterOf(output)) : undefined
      if (!value) continue
      let tensor = this.#gradients.get(output)
      if (!tensor) {
        const parameter = parameters[parameterOf(output)]!
        tensor = { dtype: value.dtype, dims: value.shape as readonly number[], data: zeroArrayLike(parameter) }
        this.#gradients.set(output, tensor)
      }
      tensors[output] = tensor
    }
    return tensors
  }

  override load(state: TrainingState): void {
    super.load(state)
    this.#averages = state.averages ?? null
  }

  /** Does nothing: the arrays of `load` are the training state. */
  download(): void {}

  upload(parameters: ParameterArrays): ParameterArrays {
    return parameters
  }

  release(tensors: ParameterArrays): void {
    if (!this.#sums.delete(tensors)) return
    for (const [name, sum] of Object.entries(tensors))
      this.#freeSums.set(name, [...(this.#freeSums.get(name) ?? []), sum])
  }

  accumulate(sum: Gradients | null, gradients: Gradients, factor: number): Gradients {
    const sums: Record<string, FloatArray> =
      sum ?? mapArrays(gradients, (gradient, name) => this.#takeSum(name, gradient))
    this.#sums.add(sums)
    addScaled(sums, gradients, factor)
    return sums
  }

  /** A zeroed array, if possible one that was released. */
  #takeSum(name: string, gradient: FloatArray): FloatArray {
    return this.#freeSums.get(name)?.pop()?.fill(0) ?? zeroArrayLike(gradient)
  }

  scale(sum: Gradients, factor: number): Gradients {
    scaleArrays(sum, factor)
    return sum
  }

  updateAverages(decay: number): void {
    if (this.#averages) updateAverages(this.#averages, this.parameters, decay, this.#threads)
  }

  async recover(): Promise<boolean> {
    return false
  }

  async dispose(): Promise<void> {
    this.#gradients.clear()
    this.#freeSums.clear()
    this.#threads?.release()
    await this.#graphUpdates.release()
  }

  protected override computeGraph(update: TensorGraph): Promise<Readonly<Record<string, MomentArray>>> {
    return this.#graphUpdates.compute(update, this.#values.get(update.name)!.shape as readonly number[])
  }
}

/** The tensors that a program reads and writes at some parameters. */
interface ProgramTensors {
  readonly parameters: ParameterArrays
  readonly inputs: Tensors
  /** The outputs that are gradients. */
  readonly targets: Tensors
  readonly gradients: ParameterArrays
}

const arrayOfTensor = ({ data }: Tensor): FloatArray => data as FloatArray

interface Loaded {
  readonly parameters: ParameterArrays
  readonly state: OptimizerState
  readonly moments: OptimizerState['moments']
  /** The number of parameters. */
  readonly count: number
}

/** ||abs(theta) g|| over all tensors. */
function weightedNorm(parameters: ParameterArrays, gradients: Gradients, parallel?: ParallelEvaluation): number {
  const tensors = { theta: Object.values(parameters), g: Object.keys(parameters).map((name) => gradients[name]!) }
  return Math.sqrt(evaluate(adaptiveNormFormula, tensors, {}, parallel)['squares']!)
}

/** Tensors with the same update formula and coefficients. */
interface FormulaGroup {
  readonly rule: FormulaRule
  readonly coefficients: TensorUpdate['coefficients']
  readonly enhanced: boolean
  readonly names: string[]
}

function groupTensors(tensors: readonly TensorUpdate[], isEnhanced: (name: string) => boolean): FormulaGroup[] {
  const groups = new Map<TensorUpdate['coefficients'], FormulaGroup[]>()
  for (const { name, rule, coefficients, ...tensor } of tensors) {
    if (isGraphRule(rule)) continue
    const enhanced = tensor.enhanced && isEnhanced(name)
    const same = groups.get(coefficients) ?? []
    groups.set(coefficients, same)
    const group = same.find((other) => other.enhanced === enhanced)
    if (group) group.names.push(name)
    else same.push({ rule, coefficients, enhanced, names: [name] })
  }
  return [...groups.values()].flat()
}

const scratch = new WeakMap<OptimizerState, ParameterArrays>()

/** Arrays for theta + e. They are cached per optimizer state, so that a run uses the same arrays at every step. */
function ascentArrays(state: OptimizerState, parameters: ParameterArrays): ParameterArrays {
  const cached = scratch.get(state)
  const arrays = mapArrays(parameters, (array, name) => {
    const own = cached && Object.hasOwn(cached, name) ? getOwn(cached, name) : undefined
    return own?.length === array.length && own.constructor === array.constructor ? own : zeroArrayLike(array)
  })
  scratch.set(state, arrays)
  return arrays
}
