import {
  adamw,
  crossEntropy,
  type Dataset,
  ire,
  LossSurface,
  type Model,
  type ParameterArrays,
  Random,
  type Runtime,
  type Split,
  type StepProgress,
  sharpness,
  split,
  subset,
  Trainer,
} from 'onnx-ire'
import { type Contender, contenders, type Settings, type WorkerEvent } from '../protocol.js'

/** On how many training examples the sharpness is measured. */
const measured = 128

/** AdamW beside AdamW + IRE: the same model, data, seed and order of batches, step by step in turn. */
export class Race {
  /** With its new head, before training. */
  readonly model: Model
  running = false
  readonly #trainers: Readonly<Record<Contender, Trainer>>
  readonly #parts: Split
  readonly #settings: Settings
  readonly #tell: (event: WorkerEvent) => void
  readonly #stopping = new AbortController()
  #paused: Promise<void> | undefined
  #resume: (() => void) | undefined

  private constructor(
    model: Model,
    trainers: Readonly<Record<Contender, Trainer>>,
    parts: Split,
    settings: Settings,
    tell: (event: WorkerEvent) => void,
  ) {
    this.model = model
    this.#trainers = trainers
    this.#parts = parts
    this.#settings = settings
    this.#tell = tell
  }

  static async start(
    model: Model,
    data: Dataset,
    settings: Settings,
    runtime: Runtime,
    tell: (event: WorkerEvent) => void,
  ): Promise<Race> {
    const { lr, weightDecay, kappa, gamma, interval, batchSize, seed, held, epochs } = settings
    const parts = split(data, { validation: held, seed })
    const steps = epochs * Math.ceil(parts.train.length / batchSize)
    const base = adamw({ lr, weightDecay })
    const warmup = Math.ceil(steps / 10)
    const common = { loss: crossEntropy(), runtime, batchSize, seed, schedule: { kind: 'cosine', warmup: 5 } } as const
    const trainers = {
      base: await Trainer.create(model, { ...common, optimizer: base }),
      ire: await Trainer.create(model, { ...common, optimizer: ire(base, { kappa, gamma, interval, warmup }) }),
    }
    return new Race(model, trainers, parts, settings, tell)
  }

  /** Trains both until the end, or until `stop`. */
  async run(): Promise<{ stopped: boolean }> {
    this.running = true
    try {
      await Promise.all((Object.keys(contenders) as Contender[]).map((contender) => this.#train(contender)))
    } finally {
      this.running = false
    }
    return { stopped: this.#stopping.signal.aborted }
  }

  pause(paused: boolean): void {
    this.#resume?.()
    this.#paused = paused
      ? new Promise((resolve) => {
          this.#resume = resolve
        })
      : undefined
  }

  stop(): void {
    this.#stopping.abort()
    this.pause(false)
  }

  /** The weights as they are. */
  async parameters(contender: Contender): Promise<ParameterArrays> {
    await this.#trainers[contender].sync()
    return this.#trainers[contender].parameters
  }

  async exported(contender: Contender): Promise<Model> {
    await this.#trainers[contender].sync()
    return this.#trainers[contender].export()
  }

  async dispose(): Promise<void> {
    this.stop()
    for (const trainer of Object.values(this.#trainers)) await trainer.dispose()
  }

  async #train(contender: Contender): Promise<void> {
    const { epochs, flatness, batchSize, seed } = this.#settings
    const { train, validation } = this.#parts
    const trainer = this.#trainers[contender]
    const few = subset(train, { end: Math.min(measured, train.length) })
    const surface = flatness ? LossSurface.under(trainer, few, { batchSize }) : undefined
    let seconds = 0
    const onStep = async ({ step, steps, loss, seconds: taken }: StepProgress) => {
      seconds += (taken - seconds) / Math.min(step + 1, 20)
      this.#tell({ kind: 'step', contender, step, steps: steps!, loss, secondsPerStep: seconds })
      await breath()
      await this.#paused
    }
    const onDeviceLost = (step: number) => this.#tell({ kind: 'lost', contender, step })
    const { signal } = this.#stopping
    try {
      for await (const round of trainer.fit(train, { epochs, validation, signal, onStep, onDeviceLost })) {
        if (!round.validation) continue // stopped within an epoch
        // The same directions for both.
        const flat = surface && (await sharpness(surface, new Random(seed), { rho: 0.05, directions: 0 }))
        this.#tell({
          kind: 'round',
          contender,
          step: round.step,
          epoch: round.epoch,
          loss: round.loss,
          accuracy: round.accuracy ?? Number.NaN,
          heldLoss: round.validation.loss,
          heldAccuracy: round.validation.accuracy ?? Number.NaN,
          sharpness: flat ? flat.ascent : null,
        })
      }
    } finally {
      await surface?.release()
    }
  }
}

/** Lets the page's messages in between two steps. */
const breath = () =>
  new Promise<void>((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
