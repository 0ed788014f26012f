import type {
  AscentRequest,
  BackendSpec,
  GradientProgram,
  StepStats,
  TrainingState,
  UpdateRequest,
} from '../../backend/backend.js'
import { DeviceBackend } from '../../backend/onnx/device-backend.js'
import { largestFloat32 } from '../../ir/dtype.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { createRules, type FormulaRule, type Rules, updateFormula } from '../../optim/base-optimizer.js'
import type { Formula } from '../../optim/expr/expr.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import { unwrap } from '../../optim/optimizer.js'
import { adaptiveAscentFormula, ascentFormula } from '../../optim/sam.js'
import type { Device, DeviceTensors } from '../../runtime/device.js'
import { disposedError, type Runtime } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { mergeRecords } from '../../util/record.js'
import type { WebGpuContext } from './context.js'
import { DispatchList } from './dispatch-list.js'
import { FormulaKernel } from './formula-kernel.js'
import { GpuMask } from './gpu-mask.js'
import { GradientBindings } from './gradient-bindings.js'
import { KernelCache } from './kernel-cache.js'
import { BufferAllocator, type ParameterBuffers, toDeviceTensors } from './parameter-buffers.js'
import { ShaderGradientNorms } from './shader-gradient-norms.js'
import { createSharedBuffers, createSharedKernels, type SharedBuffers } from './shared-buffers.js'
import {
  type CheckedStage,
  createFaultError,
  downloadState,
  type PendingRead,
  StateReadback,
  uploadState,
} from './state-transfer.js'
import { faultWords, type Stage } from './step-state.js'

/** An update whose state is being read back. */
interface Applied {
  readonly read: PendingRead
  readonly stages: ReadonlyMap<Stage, CheckedStage>
}

/** Buffers and kernels of one training state on one device. */
interface Allocation {
  readonly context: WebGpuContext
  readonly allocator: BufferAllocator
  readonly buffers: readonly ParameterBuffers[]
  readonly parameters: DeviceTensors
  readonly shared: SharedBuffers
  readonly kernels: KernelCache
  readonly dispatches: DispatchList
  readonly norms: ShaderGradientNorms
  readonly gradients: GradientBindings
  readonly readback: StateReadback
  readonly mask: GpuMask | null
  readonly updateKernels: Map<Formula, FormulaKernel>
  readonly ascentKernels: Map<Formula, FormulaKernel>
  readonly ascended: Map<ParameterBuffers, ParameterBuffers['theta']>
}

/**
 * Training state in buffers of onnxruntime's WebGPU device, updated in place by compute shaders: one submit per method
 * of a step, and `stats` reads 48 bytes back. Arithmetic is float32, and a GPU may treat numbers below 1.2e-38 as 0;
 * estimates without smoothing are ranked exactly even then. Optimizers whose rules are graphs, or that need sums over
 * all tensors, train in an `OnnxBackend` instead. `load` throws `runtime` if the GPU's memory is too small, or if
 * WebGPU rejects a shader.
 */
export class WebGpuBackend extends DeviceBackend {
  readonly rules: Rules
  readonly estimate = {}
  readonly #context: () => WebGpuContext
  readonly #spec: BackendSpec
  readonly #announce: ((message: string) => void) | null
  #allocation: Allocation | undefined
  #disposed = false
  /** The step in progress and the stages that its calls check; undefined between steps. */
  #stepInProgress: { readonly step: number | null; readonly stages: Map<Stage, CheckedStage> } | undefined
  /** The last update, and its statistics once they are requested. */
  #applied: { readonly result: Promise<Applied>; stats?: Promise<StepStats> } | undefined

  /**
   * @param context returns the current device, which changes after `recover`
   * @param announce is called if a graph needs onnxruntime; null if all graphs run there
   */
  constructor(
    runtime: Runtime,
    device: Device,
    context: () => WebGpuContext,
    spec: BackendSpec,
    announce: ((message: string) => void) | null = null,
  ) {
    super(runtime, device, spec)
    this.#context = context
    this.#announce = announce
    this.rules = createRules(unwrap(spec.optimizer).base)
    this.#spec = spec
  }

  get parameters(): DeviceTensors {
    return this.#allocation!.parameters
  }

  override async compile(spec: GraphSpec): Promise<GradientProgram<DeviceTensors>> {
    const announce = this.#announce
    if (!announce) return super.compile(spec)
    const { ShaderGraph } = await import('./shader-graph.js')
    const context = this.#context()
    context.check()
    return new ShaderGraph(context, KernelCache.of(context.gpu), spec, (reason) => {
      announce(`'${spec.name}' runs in onnxruntime, because ${reason}`)
      return super.compile(spec)
    })
  }

  override async load(state: TrainingState): Promise<void> {
    if (!this.#allocation) {
      const context = this.#context()
      this.#allocation = await context.run(() => allocate(context, this.#spec))
    }
    await this.#run(async ({ context, buffers, shared, mask }) => {
      this.#stepInProgress = undefined
      const { parameters, optimizer } = state
      const refresh = mask?.load(optimizer.mask) ?? 0
      uploadState(context.gpu, buffers, shared, parameters, optimizer, refresh)
    })
    await super.load(state)
  }

  override async download(state: TrainingState): Promise<void> {
    await this.#run(async ({ context, buffers, shared, mask }) => {
      const statsOf = mask ? mask.statsOf.bind(mask) : null
      await downloadState(context.gpu, buffers, shared, state.parameters, state.optimizer, statsOf)
    })
    await super.download(state)
  }

  override async dispose(): Promise<void> {
    if (this.#allocation && !this.#disposed)
      await this.#run(async ({ allocator, dispatches, readback }) => {
        this.#disposed = true
        allocator.release()
        dispatches.release()
        readback.release()
      }).catch(() => {}) // a device that has ended has no buffers
    await super.dispose()
  }

  protected reset(): void {
    this.#allocation = undefined
    this.#stepInProgress = undefined
    this.#applied = undefined
  }

  refreshMask(request: MaskRequest, estimates: DeviceTensors): Promise<void> {
    return this.#run(async ({ gradients, dispatches, mask }) => {
      const ranked = gradients.bind(request.ranked, estimates, request.what)
      this.#stepInProgress = undefined
      const { stages } = this.#beginStep(request.step)
      const tensors = ranked.map(({ buffers }) => buffers)
      const place = `step ${request.step}`
      stages.set('estimate', { place, what: request.what, tensors })
      stages.set('curvature', { place, what: 'curvature estimate F', tensors })
      await mask!.refresh(dispatches, request, ranked)
    })
  }

  ascend(request: AscentRequest, gradients: DeviceTensors): Promise<DeviceTensors> {
    const { sam, step, tensors, what } = request
    const names = tensors.map(({ name }) => name)
    return this.#run(async (allocation) => {
      const { dispatches, norms, ascentKernels } = allocation
      const bound = allocation.gradients.bind(names, gradients, what)
      // A second ascent belongs to a repeated step.
      if (this.#stepInProgress?.stages.has('ascent')) this.#stepInProgress = undefined
      const { stages } = this.#beginStep(step)
      stages.set('ascent', { place: `step ${step}`, what, tensors: bound.map(({ buffers }) => buffers) })
      const conclusion = { scalars: [sam.rho] }
      if (sam.adaptive) await norms.addWeighted(dispatches, 'ascent', bound, conclusion)
      else norms.add(dispatches, 'ascent', bound, conclusion)
      const ascended = await ascentBuffers(
        allocation,
        bound.map(({ buffers }) => buffers),
      )
      const formula = sam.adaptive ? adaptiveAscentFormula : ascentFormula
      const kernel = getKernel(ascentKernels, 'ascent', formula, allocation.kernels, (buffers, array) =>
        array === 'ascended' ? ascended.get(buffers)!.buffer : buffers.theta.buffer,
      )
      for (const { buffers, group } of bound) await kernel.add(dispatches, buffers, group, {})
      dispatches.submit()
      const moved = bound.map(({ buffers }) => [buffers.name, ascended.get(buffers)!] as const)
      return mergeRecords(allocation.parameters, Object.fromEntries(moved))
    })
  }

  applyUpdate(request: UpdateRequest, gradients: DeviceTensors): Promise<void> {
    // Discard the readback of the previous step if its statistics were never requested.
    if (!this.#applied?.stats)
      this.#applied?.result.then(
        ({ read }) => read.discard(),
        () => {},
      )
    const result = this.#run((allocation) => this.#applyUpdate(allocation, request, gradients))
    this.#applied = { result }
    return result.then(() => {})
  }

  async #applyUpdate(allocation: Allocation, request: UpdateRequest, gradients: DeviceTensors): Promise<Applied> {
    const { dispatches, norms, mask, shared, updateKernels, kernels } = allocation
    const { step, tensors, kappa, what } = request
    const names = tensors.map(({ name }) => name)
    const bound = allocation.gradients.bind(names, gradients, what)
    const { stages } = this.#beginStep(step)
    this.#stepInProgress = undefined
    stages.set('update', { place: `step ${step}`, what, tensors: bound.map(({ buffers }) => buffers) })
    const clipNorm = request.clipNorm > largestFloat32 ? 0 : request.clipNorm
    const limit = request.clipValue > largestFloat32 ? 0 : request.clipValue
    norms.add(dispatches, 'update', bound, {
      scalars: [clipNorm, limit],
      limit: clipNorm > 0 ? limit : 0,
      refresh: mask?.pendingAt(step) ?? 0,
    })
    await mask?.commit(dispatches, step)
    for (const [i, { buffers, group }] of bound.entries()) {
      const { rule, coefficients, enhanced } = tensors[i]!
      const update = updateFormula((rule as FormulaRule).formula, { clipped: limit > 0, enhanced: mask !== null })
      const kernel = getKernel(updateKernels, 'update', update, kernels, (buffers, array) =>
        array === 'theta' ? buffers.theta.buffer : array === 'n' ? shared.flat : buffers.moments[array]!,
      )
      await kernel.add(dispatches, buffers, group, { ...coefficients, limit, kappa: enhanced ? kappa : 0 })
    }
    return { read: submitAndRead(allocation), stages }
  }

  async stats(): Promise<StepStats> {
    const applied = this.#applied
    if (!applied) throw new OnnxIreError('runtime', 'stats() was called before the first step')
    applied.stats ??= this.#readStats(applied.result)
    return applied.stats
  }

  async #readStats(applied: Promise<Applied>): Promise<StepStats> {
    const { read, stages } = await applied
    const { fault, norm, refresh, counts } = await read.finish()
    if (fault) throw createFaultError(fault, stages)
    const none = { flatShare: 0, zeroShare: null, threshold: null }
    const { flatShare, zeroShare, threshold } = this.#allocation?.mask?.statsOf(refresh, counts) ?? none
    return { gradientNorm: norm, flatShare, zeroShare, threshold }
  }

  async checkFinite(names: readonly string[], gradients: DeviceTensors, place: string, what: string): Promise<void> {
    const { read, stages } = await this.#run(async (allocation) => {
      const bound = allocation.gradients.bind(names, gradients, what)
      const { stages } = this.#stepInProgress ?? this.#beginStep(null)
      this.#stepInProgress = undefined
      stages.set('check', { place, what, tensors: bound.map(({ buffers }) => buffers) })
      allocation.norms.add(allocation.dispatches, 'check', bound)
      return { read: submitAndRead(allocation), stages }
    })
    const { fault } = await read.finish()
    if (fault) throw createFaultError(fault, stages)
  }

  /** Runs a task on the allocation, in turn with other tasks of the device. */
  #run<T>(task: (allocation: Allocation) => Promise<T>): Promise<T> {
    const allocation = this.#allocation!
    return allocation.context.run(async () => {
      if (this.#disposed) throw disposedError('backend', 'disposed')
      try {
        return await task(allocation)
      } catch (error) {
        allocation.dispatches.clear()
        throw error
      }
    })
  }

  /** Returns the step that a call belongs to. The first call of a step clears the faults of earlier steps. */
  #beginStep(step: number | null) {
    if (this.#stepInProgress?.step === step) return this.#stepInProgress
    const { context, shared } = this.#allocation!
    context.gpu.queue.writeBuffer(shared.state, 0, new Uint32Array(faultWords))
    this.#stepInProgress = { step, stages: new Map() }
    return this.#stepInProgress
  }
}

/** Allocates buffers and kernels. Throws `runtime` if they do not fit the GPU's memory. */
async function allocate(context: WebGpuContext, { optimizer, parameters }: BackendSpec): Promise<Allocation> {
  const { gpu } = context
  const { base, ire } = unwrap(optimizer)
  const allocator = new BufferAllocator(gpu)
  try {
    const [buffers, shared] = await allocator.allocate(() => {
      const dims = [...parameters].map(([name, { shape }]) => [name, shape as readonly number[]] as const)
      const buffers = allocator.parameters(dims, base.moments, ire !== null && ire.beta > 0)
      return [buffers, createSharedBuffers(allocator, buffers, ire !== null)] as const
    })
    const kernels = KernelCache.of(gpu)
    const sharedKernels = await createSharedKernels(kernels, shared, ire !== null)
    const norms = new ShaderGradientNorms(kernels, shared, sharedKernels)
    return {
      context,
      allocator,
      buffers,
      parameters: toDeviceTensors(buffers),
      shared,
      kernels,
      dispatches: new DispatchList(kernels, shared.state),
      norms,
      gradients: new GradientBindings(kernels, buffers, shared.selection),
      readback: new StateReadback(context, shared.state),
      mask: ire ? new GpuMask(ire, kernels, shared, sharedKernels, norms) : null,
      updateKernels: new Map(),
      ascentKernels: new Map(),
      ascended: new Map(),
    }
  } catch (error) {
    allocator.release()
    throw error
  }
}

/** Returns the tensors for theta + e, which are allocated at the first ascent. */
async function ascentBuffers(
  { allocator, ascended }: Allocation,
  tensors: readonly ParameterBuffers[],
): Promise<ReadonlyMap<ParameterBuffers, ParameterBuffers['theta']>> {
  const missing = tensors.filter((buffers) => !ascended.has(buffers))
  if (missing.length > 0)
    await allocator.allocate(() => {
      for (const buffers of missing) ascended.set(buffers, allocator.like(buffers, 'ascended parameter'))
    })
  return ascended
}

function getKernel(
  cache: Map<Formula, FormulaKernel>,
  label: string,
  formula: Formula,
  kernels: KernelCache,
  bufferOf: (buffers: ParameterBuffers, array: string) => GPUBuffer,
): FormulaKernel {
  const known = cache.get(formula)
  if (known) return known
  const kernel = new FormulaKernel(label, formula, kernels, bufferOf)
  cache.set(formula, kernel)
  return kernel
}

/** Submits the dispatches and starts to read the step's state back. */
function submitAndRead({ dispatches, readback }: Allocation): PendingRead {
  let read: PendingRead
  dispatches.submit({
    after: (encoder) => {
      read = readback.copy(encoder)
    },
  })
  return read!
}
