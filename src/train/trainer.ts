import { batchCount, batches } from '../data/batches.js'
import type { Dataset } from '../data/dataset.js'
import { OnnxIreError } from '../errors.js'
import type { Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { Loss } from '../loss/loss.js'
import { importGraph } from '../onnx/import.js'
import type { Model } from '../onnx/model.js'
import type { FloatArray, ParameterArrays } from '../optim/arrays.js'
import { checkNumber, invalidOption, positiveCount } from '../optim/option.js'
import { checkSchedule, learningRateFactor, type Schedule } from '../optim/schedule.js'
import { Random } from '../random.js'
import type { Runtime } from '../runtime/runtime.js'
import { layers, type Optimizer } from '../step/optimizer.js'
import { initialState, type OptimizerState } from '../step/state.js'
import type { StepReport } from '../step/step.js'
import { takeStep } from '../step/take-step.js'
import { readCheckpoint, writeCheckpoint } from './checkpoint.js'
import { conform } from './conform.js'
import { type TrainingGraphs, type TrainingOptions, trainingGraphs } from './graphs.js'
import { type HeadOptions, replaceHead } from './head.js'
import { type Measures, Tally } from './metrics.js'
import { type Evaluated, Programs } from './programs.js'
import { withTrained } from './trained.js'

export interface TrainerOptions extends TrainingOptions {
  readonly loss: Loss
  readonly optimizer: Optimizer
  /** Where it runs: `node()` from 'onnx-ire/node'. */
  readonly runtime: Runtime
  /** Resizes the model's last layer before training; see `replaceHead`. */
  readonly head?: HeadOptions
  /** Examples per step. Default 32. */
  readonly batchSize?: number
  /** How the learning rate moves over the run. Default constant. */
  readonly schedule?: Schedule
  /** Largest global norm of the gradient. Default none. */
  readonly clipNorm?: number
  /** Decides the order of the data and the sampled labels. The same seed gives the same run, bit for bit. Default 0. */
  readonly seed?: number
}

export interface FitOptions {
  /** Passes over the data. Give either this or `steps`. */
  readonly epochs?: number
  /** Optimizer steps in all, counted from the beginning of training also after a resume. */
  readonly steps?: number
  /** Data that is only evaluated, after every epoch. */
  readonly validation?: Dataset
  /** Called after every step: for progress. */
  readonly onStep?: (progress: StepProgress) => void
  /** Stop after the step in progress once it is aborted, as Ctrl-C does; `fit` then ends without error. */
  readonly signal?: { readonly aborted: boolean }
}

export interface StepProgress extends StepReport {
  readonly loss: number
  /** Counted from 0. */
  readonly epoch: number
  /** Steps in all when `fit` ends. */
  readonly steps: number
  /** Examples of this step's batch. */
  readonly examples: number
  /** Wall-clock time of this step. */
  readonly seconds: number
}

/** What an epoch came to. Training measures are means over its steps, taken before each step's update. */
export interface EpochMetrics extends Measures {
  /** Counted from 0. */
  readonly epoch: number
  /** Steps done since the beginning. */
  readonly step: number
  readonly validation?: Measures
  /** Learning rate of the last step. */
  readonly lr: number
  /** Global norm of the last step's gradient, before clipping. */
  readonly gradientNorm: number
  /** Share of coordinates that IRE treats as flat; absent without IRE. */
  readonly flatShare?: number
  readonly secondsPerStep: number
}

/** Fine-tunes one model. Made by `Trainer.create`. */
export class Trainer {
  private readonly model: Model
  private readonly options: TrainerOptions
  private readonly programs: Programs
  private readonly random: Random
  private readonly arrays: { readonly parameters: ParameterArrays; readonly statistics: ParameterArrays }
  private state: OptimizerState

  private constructor(model: Model, options: TrainerOptions, graphs: TrainingGraphs) {
    this.model = model
    this.options = options
    this.random = new Random(options.seed ?? 0)
    this.programs = new Programs(graphs, options.runtime)
    this.arrays = {
      parameters: allocated(graphs.parameters, options.runtime),
      statistics: allocated(graphs.statistics, options.runtime),
    }
    this.state = initialState(options.optimizer, this.arrays.parameters)
  }

  /**
   * Builds and compiles the training graphs. The model is not changed.
   * Throws `not-differentiable`, `unsupported-operator`, `invalid-model`, `invalid-option`, `runtime`.
   */
  static async create(model: Model, options: TrainerOptions): Promise<Trainer> {
    checkNumber('Trainer', 'batchSize', options.batchSize ?? 32, positiveCount)
    checkSchedule(options.schedule ?? { kind: 'constant' })
    if (options.clipNorm !== undefined && !(options.clipNorm > 0))
      throw invalidOption('Trainer', 'clipNorm', options.clipNorm, 'a number > 0')
    const started = options.head ? replaceHead(model, options.head) : model
    const trainer = new Trainer(started, options, trainingGraphs(importGraph(started), options))
    try {
      await trainer.programs.prepare(layers(options.optimizer).ire?.curvature === 'sampled')
    } catch (error) {
      await trainer.dispose()
      throw error
    }
    return trainer
  }

  /** Steps done since the beginning of training. */
  get step(): number {
    return this.state.step
  }

  /** The tensors being trained, by name: live arrays, valid between steps. */
  get parameters(): ParameterArrays {
    return this.arrays.parameters
  }

  /**
   * Trains, yielding the metrics of each epoch (the last may be a part of one). Goes on from `step` when training was
   * resumed. Throws `invalid-data` for data of another shape, and `not-finite` naming step and tensor; the
   * parameters are then those before that step.
   */
  async *fit(data: Dataset, options: FitOptions): AsyncGenerator<EpochMetrics, void, undefined> {
    const batchSize = this.options.batchSize ?? 32
    const perEpoch = batchCount(data.length, { batchSize })
    const steps = stepsOf(options, perEpoch)
    for (const set of options.validation ? [data, options.validation] : [data])
      this.programs.checkSizes(set.length, batchSize)
    while (this.step < steps && !options.signal?.aborted) {
      const epoch = Math.floor(this.step / perEpoch)
      const tally = new Tally()
      const begun = { step: this.step, time: Date.now() }
      let last: StepProgress | undefined
      for await (const batch of batches(data, {
        batchSize,
        shuffle: this.random.stream('order'),
        epoch,
        start: this.step % perEpoch,
      })) {
        last = await this.trainStep(batch.tensors, batch.size, epoch, steps, tally)
        options.onStep?.(last)
        if (this.step >= steps || options.signal?.aborted) break
      }
      if (!last) return
      const seconds = (Date.now() - begun.time) / 1000
      const validation =
        options.validation && !options.signal?.aborted ? await this.evaluate(options.validation) : undefined
      yield {
        epoch,
        step: this.step,
        ...tally.measures(),
        ...(validation ? { validation } : {}),
        lr: last.lr,
        gradientNorm: last.gradientNorm,
        ...(layers(this.options.optimizer).ire ? { flatShare: last.flatShare } : {}),
        secondsPerStep: seconds / (this.step - begun.step),
      }
    }
  }

  private async trainStep(
    tensors: Record<string, Tensor>,
    size: number,
    epoch: number,
    steps: number,
    tally: Tally,
  ): Promise<StepProgress> {
    const { optimizer, schedule = { kind: 'constant' }, clipNorm } = this.options
    const { parameters, statistics } = this.arrays
    const batch = conform(tensors, this.programs.graphs.data, this.programs.graphs.loss.labels)
    const started = Date.now()
    let first: Evaluated | undefined
    const report = await takeStep(
      optimizer,
      parameters,
      this.state,
      async (kind, at) => {
        // A stream per step: a resumed run draws what an uninterrupted one draws.
        const result = await this.programs.gradient(
          kind,
          batch,
          at,
          statistics,
          this.random.stream(`curvature ${this.step}`),
        )
        if (kind === 'loss') first ??= result
        return kind === 'loss' ? result : { gradients: result.gradients, batchSize: Math.max(1, result.count) }
      },
      { lrFactor: learningRateFactor(schedule, this.step, steps), ...(clipNorm === undefined ? {} : { clipNorm }) },
    )
    tally.add(first!.loss, first!.count, first!.correct)
    // Running statistics follow the unperturbed pass only: neither SAM's second pass nor the curvature moves them.
    for (const [name, next] of Object.entries(first!.statistics)) (statistics[name] as Float32Array).set(next)
    return { ...report, loss: first!.loss, epoch, steps, examples: size, seconds: (Date.now() - started) / 1000 }
  }

  /** Loss and, for a classifier, accuracy over a data set, in the model's evaluation form. */
  async evaluate(data: Dataset): Promise<Measures> {
    const { graphs } = this.programs
    const tally = new Tally()
    for await (const { tensors } of batches(data, { batchSize: this.options.batchSize ?? 32 })) {
      const { loss, count, correct } = await this.programs.evaluate(
        conform(tensors, graphs.data, graphs.loss.labels),
        this.arrays.parameters,
        this.arrays.statistics,
      )
      tally.add(loss, count, correct)
    }
    return tally.measures()
  }

  /** The model with its trained tensors, everything else as it was read. Later steps do not change what was exported. */
  export(): Model {
    return withTrained(this.model, { ...this.arrays.parameters, ...this.arrays.statistics })
  }

  /** Everything needed to go on later, as a safetensors file: parameters, running statistics, moments, mask, step. */
  checkpoint(): Uint8Array {
    return writeCheckpoint({
      ...this.arrays,
      state: this.state,
      optimizer: this.options.optimizer,
      seed: this.options.seed ?? 0,
      batchSize: this.options.batchSize ?? 32,
    })
  }

  /** Goes on from a checkpoint of the same model, optimizer, seed and batch size. Throws `checkpoint` otherwise, changing nothing. */
  restore(checkpoint: Uint8Array): void {
    this.state = readCheckpoint(checkpoint, {
      ...this.arrays,
      optimizer: this.options.optimizer,
      seed: this.options.seed ?? 0,
      batchSize: this.options.batchSize ?? 32,
    })
  }

  /** Frees the compiled graphs. The runtime stays usable. */
  async dispose(): Promise<void> {
    await this.programs.release()
  }
}

function stepsOf({ epochs, steps }: FitOptions, perEpoch: number): number {
  if ((epochs === undefined) === (steps === undefined))
    throw new OnnxIreError('invalid-option', 'fit: give either epochs or steps')
  return steps === undefined
    ? checkNumber('fit', 'epochs', epochs!, positiveCount) * perEpoch
    : checkNumber('fit', 'steps', steps, positiveCount)
}

/** Copies of the model's tensors in arrays that the runtime reads fast. */
function allocated(values: ReadonlyMap<string, Value>, runtime: Runtime): Record<string, FloatArray> {
  return Object.fromEntries(
    [...values].map(([name, { source, dtype }]) => {
      const { data } = (source as { tensor: Tensor }).tensor
      // Half floats were widened: every trained tensor is float32 or float64.
      const array = runtime.allocate(dtype, data.length) as FloatArray
      array.set(data as FloatArray)
      return [name, array]
    }),
  )
}
