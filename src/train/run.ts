import type { TensorMap } from '../backend/backend.js'
import { takeStepIn } from '../backend/step.js'
import type { Batch } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import type { Measures } from '../metric/accumulator.js'
import { needed } from '../needed.js'
import { unwrap } from '../optim/optimizer.js'
import { learningRateFactor } from '../optim/schedule.js'
import { initialState, type OptimizerState } from '../optim/state.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import type { RunArrays } from './checkpoint/format.js'
import type { WhichWeights } from './checkpoint/model-from-checkpoint.js'
import type { Compute } from './compute.js'
import { evaluateBatches } from './evaluate.js'
import type { TrainingGraphs } from './graphs/build.js'
import { HostCompute } from './host-compute.js'
import { KeptWeights } from './kept.js'
import type { StepProgress, TrainerOptions } from './options.js'
import { type Evaluated, Programs } from './programs.js'
import type { Progress } from './progress.js'
import type { ResolvedFitOptions } from './resolve-fit-options.js'
import { prepareBatch } from './validate-batch.js'

/** The tensors of a training run, where they are moved, and one step of it. */
export class Run {
  readonly programs: Programs<TensorMap, unknown>
  readonly random: Random
  private readonly options: TrainerOptions
  private readonly compute: Compute<TensorMap, unknown>
  private readonly weights: KeptWeights
  private optimizerState: OptimizerState
  /** Whether steps were taken on a device that the host's arrays do not show yet. */
  private ahead = false
  /** Settles when the works asked for are over, however they end: a step moves what a sync or an evaluation reads. */
  private working: Promise<void> = Promise.resolve()

  /** Throws `invalid-option` for a model that the runtime's device does not train. */
  static async create(graphs: TrainingGraphs, options: TrainerOptions): Promise<Run> {
    const weights = new KeptWeights(graphs, options)
    // At the end of a step it is too late to find that it does not load.
    if (weights.averages) await needed(import('./average.js'))
    return new Run(graphs, options, weights, await computeOf(graphs, options, weights))
  }

  private constructor(
    graphs: TrainingGraphs,
    options: TrainerOptions,
    weights: KeptWeights,
    compute: Compute<TensorMap, unknown>,
  ) {
    const { optimizer, microBatch, seed = 0 } = options
    this.options = options
    this.random = new Random(seed)
    this.weights = weights
    this.optimizerState = initialState(optimizer, weights.parameters)
    this.compute = compute
    this.programs = new Programs(graphs, compute, microBatch)
  }

  /** Compiles what training needs. */
  async prepare(): Promise<void> {
    const { ire } = unwrap(this.options.optimizer)
    await this.programs.prepare(ire !== null && ire.curvature !== 'empirical')
  }

  get step(): number {
    return this.optimizerState.step
  }

  /** Which weights validation measures. */
  get measured(): WhichWeights {
    return this.weights.measured
  }

  /** What the host holds. Throws `runtime` while a device is ahead of it. */
  get kept(): KeptWeights {
    if (this.ahead) throw this.behind()
    return this.weights
  }

  /** The arrays of the host, to be written to before a new `state` is set. */
  get arrays(): RunArrays {
    return this.weights.byRole
  }

  /** As `kept`. */
  get state(): OptimizerState {
    if (this.ahead) throw this.behind()
    return this.optimizerState
  }

  /** Goes on from this state, and from the arrays that `kept` holds now. */
  set state(state: OptimizerState) {
    this.optimizerState = state
    this.ahead = false
  }

  /** Brings the host up to what a device holds, once the step in progress is over. */
  sync(): Promise<void> {
    return this.inTurn(async () => {
      if (!this.ahead) return
      await this.compute.follow(this.optimizerState)
      this.ahead = false
    })
  }

  /** One optimizer step on a batch; `progress` is told what it came to. */
  take(batch: Batch, plan: ResolvedFitOptions, progress: Progress): Promise<StepProgress> {
    return this.inTurn(() => this.taken(batch, plan, progress))
  }

  private async taken(batch: Batch, plan: ResolvedFitOptions, progress: Progress): Promise<StepProgress> {
    const { steps, perEpoch, settings, curvatureBatch } = plan
    const { optimizer, schedule = { kind: 'constant' }, clipNorm, clipValue } = this.options
    const { parameters, statistics } = this.weights
    const { step } = this
    const own = this.conformed(batch)
    const waiting = Object.values(settings).some(({ startStep = 0 }) => startStep > step)
    const wanted = waiting
      ? new Set(Object.keys(parameters).filter((name) => (settings[name]?.startStep ?? 0) <= step))
      : undefined
    const started = Date.now()
    let first: Evaluated<unknown> | undefined
    const used: unknown[] = []
    const report = await takeStepIn(
      await this.compute.at(this.optimizerState),
      optimizer,
      step,
      async (kind, at) => {
        const result = await this.programs.gradient({
          kind,
          ...(kind === 'curvature' && curvatureBatch ? this.conformed(curvatureBatch) : own),
          parameters: at,
          statistics,
          // A stream per step: a resumed run draws what an uninterrupted one draws.
          random: this.random.stream(`${kind} ${step}`),
          ...(wanted ? { wanted } : {}),
        })
        used.push(result.gradients)
        if (kind === 'loss') first ??= result
        return kind === 'loss' ? result : { gradients: result.gradients, batchSize: Math.max(1, result.count) }
      },
      {
        lrFactor: learningRateFactor(schedule, step, steps ?? Infinity, perEpoch) * progress.lrFactor,
        settings,
        ...(clipNorm === undefined ? {} : { clipNorm }),
        ...(clipValue === undefined ? {} : { clipValue }),
      },
    ).finally(() => {
      for (const gradients of used) this.compute.discard(gradients)
    })
    this.optimizerState.step = step + 1
    this.ahead = this.options.runtime.device !== undefined
    progress.interval.add(first!)
    await this.compute.average()
    // Running statistics follow the unperturbed pass only: neither SAM's second pass nor the curvature moves them.
    await this.weights.afterStep(first!.statistics)
    const { epoch } = progress
    return {
      ...report,
      loss: first!.loss,
      epoch,
      totalSteps: steps,
      examples: batch.size,
      seconds: (Date.now() - started) / 1000,
    }
  }

  /** Loss and metrics over a data set. */
  evaluate(data: DatasetOrStream, weights: WhichWeights): Promise<Measures> {
    return this.inTurn(() => this.evaluated(data, weights))
  }

  private async evaluated(data: DatasetOrStream, weights: WhichWeights): Promise<Measures> {
    const statistics = weights === 'last' ? this.weights.statistics : this.weights.of(weights)
    const placed = weights === 'best' ? await this.compute.place(statistics) : undefined
    try {
      const parameters = placed ?? (await this.held(weights))
      return await evaluateBatches(this.programs, data, this.options.batchSize ?? 32, { parameters, statistics })
    } finally {
      if (placed) this.compute.drop(placed)
    }
  }

  /** Where they are trained. */
  private async held(weights: WhichWeights): Promise<TensorMap> {
    if (weights === 'ema') return this.compute.averaged(this.optimizerState)
    return (await this.compute.at(this.optimizerState)).parameters
  }

  /** After a loss of the device: begins anew on another; false where that is not possible. The state is still to be set. */
  async renew(): Promise<boolean> {
    this.programs.forget()
    return this.compute.renew()
  }

  async release(): Promise<void> {
    await this.programs.release()
    await this.compute.release()
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.working.then(work)
    this.working = result.then(nothing, nothing)
    return result
  }

  private conformed({ tensors, size }: Batch) {
    const { graphs } = this.programs
    return { batch: prepareBatch(tensors, graphs.data, graphs.loss.labels), size }
  }

  private behind(): OnnxIreError {
    return new OnnxIreError(
      'runtime',
      `the parameters of step ${this.step} are on the device: await trainer.sync() first; if the device is lost, make a new trainer and resume from a checkpoint`,
    )
  }
}

/** Where a run computes: where its runtime keeps tensors, else on the host. */
async function computeOf(
  { parameters: values }: TrainingGraphs,
  { runtime, optimizer }: TrainerOptions,
  { parameters: arrays, averages }: KeptWeights,
): Promise<Compute<TensorMap, unknown>> {
  const trained = { optimizer, values, arrays, ...(averages ? { averages } : {}) }
  if (!runtime.device) return new HostCompute(runtime, trained)
  // Loaded when needed: a page that trains in WebAssembly does without.
  const { DeviceCompute } = await needed(import('./device-compute.js'))
  return new DeviceCompute(runtime, runtime.device, trained)
}

const nothing = () => {}
