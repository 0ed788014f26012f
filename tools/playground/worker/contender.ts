import {
  adamw,
  type CheckpointStore,
  crossEntropy,
  type Dataset,
  type DatasetSplit,
  ire,
  type Model,
  OnnxIreError,
  type Runtime,
  type StepProgress,
  Trainer,
} from 'onnx-ire'
import { Random, subset } from 'onnx-ire/data'
import { LossSurface, sharpness } from 'onnx-ire/flatness'
import { checkpointFolder } from 'onnx-ire/web'
import type { ContenderName, Settings, WorkerEvent } from '../protocol.js'
import type { Control } from './control.js'
import { Lock } from './lock.js'
import { toWarmups } from './warmups.js'

/** Number of training examples for measuring the sharpness. */
const measured = 128

/** Number of evaluations of a run, at most: one after every epoch, or after every few. */
const evaluations = 25

/** Settings that both contenders share. */
export interface Conditions {
  readonly parts: DatasetSplit
  readonly settings: Settings
  readonly control: Control
  readonly tell: (event: WorkerEvent) => void
  /** Folder of the checkpoints of the run. */
  readonly folder: string
}

/** Options of a trainer for the layers that are trained. Runs that were stored before there was a choice train all. */
export const frozenLayers = (layers: Settings['layers'] | undefined) =>
  layers === 'head' ? ({ freeze: { except: 'head' }, features: 'cached' } as const) : {}

/** One of the two training runs. */
export class Contender {
  readonly name: ContenderName
  readonly #trainer: Trainer
  readonly #runtime: Runtime
  readonly #conditions: Conditions
  /** Lock held while weights change: they are read between two steps. */
  readonly #weights = new Lock()

  private constructor(name: ContenderName, trainer: Trainer, runtime: Runtime, conditions: Conditions) {
    this.name = name
    this.#trainer = trainer
    this.#runtime = runtime
    this.#conditions = conditions
  }

  /** Creates a contender, which owns and disposes the runtime. The runtime is also disposed if creation fails. */
  static async create(name: ContenderName, model: Model, runtime: Runtime, conditions: Conditions): Promise<Contender> {
    const { parts, settings } = conditions
    const { lr, weightDecay, kappa, gamma, interval, batchSize, seed, layers } = settings
    const warmups = toWarmups(settings, parts.train.length)
    const base = adamw({ lr, weightDecay })
    const optimizer = name === 'ire' ? ire(base, { kappa, gamma, interval, warmup: warmups.ire }) : base
    const schedule = { kind: 'cosine', warmup: warmups.schedule } as const
    try {
      const options = { loss: crossEntropy(), runtime, batchSize, seed, schedule, optimizer, ...frozenLayers(layers) }
      return new Contender(name, await Trainer.create(model, options), runtime, conditions)
    } catch (error) {
      await runtime.dispose()
      throw error
    }
  }

  async train(): Promise<void> {
    const { settings, control, tell } = this.#conditions
    const { train, validation } = this.#conditions.parts
    const { epochs } = settings
    const perEpoch = Math.ceil(train.length / settings.batchSize)
    const evaluateEvery = perEpoch * Math.max(1, Math.ceil(epochs / evaluations))
    let free = await this.#weights.take()
    let surface = this.#surface()
    let [untold, since] = [{ losses: 0, steps: 0 }, 0]
    const onStep = async ({ step, totalSteps: steps, loss }: StepProgress) => {
      untold = { losses: untold.losses + loss, steps: untold.steps + 1 }
      // A small model takes thousands of steps per second, more than a page can display.
      if (performance.now() - since > 50 || step + 1 === steps) {
        tell({ kind: 'step', contender: this.name, step, steps: steps!, loss: untold.losses / untold.steps })
        ;[untold, since] = [{ losses: 0, steps: 0 }, performance.now()]
      }
      free()
      await control.passed()
      free = await this.#weights.take()
    }
    const onDeviceLost = async (step: number) => {
      tell({ kind: 'lost', contender: this.name, step })
      await surface?.release()
      surface = this.#surface()
    }
    const { signal } = control
    try {
      for await (const round of this.#trainer.fit(train, {
        totalEpochs: epochs,
        validation,
        evaluateEvery,
        signal,
        onFeatures: ({ done, total }) => tell({ kind: 'features', done, total }),
        onStep,
        onDeviceLost,
      })) {
        if (!round.validation) continue // stopped within an epoch
        tell({
          kind: 'round',
          contender: this.name,
          step: round.step,
          epoch: round.epoch,
          loss: round.loss,
          accuracy: round.accuracy ?? Number.NaN,
          heldLoss: round.validation.loss,
          heldAccuracy: round.validation.accuracy ?? Number.NaN,
          sharpness: surface ? await this.#sharpness(surface) : null,
        })
      }
    } finally {
      free()
      await surface?.release()
    }
  }

  /** Number of steps so far. */
  get step(): number {
    return this.#trainer.step
  }

  /** Stores a checkpoint of the run, unless it has ended: training cannot be resumed from its end. */
  async keep(): Promise<void> {
    const free = await this.#weights.take()
    try {
      if (this.#trainer.isFinished({ totalEpochs: this.#conditions.settings.epochs })) return
      await this.#trainer.sync()
      await this.#openStore().save(this.#trainer.step, this.#trainer.checkpoint())
    } finally {
      free()
    }
  }

  /** Resumes from the stored checkpoint, or begins if there is none. */
  async resume(): Promise<void> {
    await this.#trainer.resume(this.#openStore())
  }

  /** Exports the model with the current weights. */
  async exported(): Promise<Model> {
    const free = await this.#weights.take()
    try {
      await this.#trainer.sync()
      return this.#trainer.export()
    } finally {
      free()
    }
  }

  async dispose(): Promise<void> {
    const free = await this.#weights.take()
    await this.#trainer.dispose()
    await this.#runtime.dispose()
    free()
  }

  #openStore(): CheckpointStore {
    return checkpointFolder(`${this.#conditions.folder}/${this.name}`, { keep: 1 })
  }

  #surface(): LossSurface | undefined {
    const { settings, parts } = this.#conditions
    if (!settings.flatness) return undefined
    return LossSurface.under(this.#trainer, few(parts.train), { batchSize: settings.batchSize })
  }

  /** Measures the sharpness; returns null if the device is lost meanwhile, and the next step replaces it. */
  async #sharpness(surface: LossSurface): Promise<number | null> {
    try {
      return (await sharpness(surface, new Random(this.#conditions.settings.seed), { rho: 0.05, directions: 0 })).ascent
    } catch (error) {
      if (error instanceof OnnxIreError && error.code === 'device-lost') return null
      throw error
    }
  }
}

const few = (train: Dataset): Dataset => subset(train, { end: Math.min(measured, train.length) })
