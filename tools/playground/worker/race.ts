import type { Model, Runtime } from 'onnx-ire'
import { type Contender, contenders, type Form } from '../protocol.js'
import { type Conditions, Contestant } from './contestant.js'
import type { Control } from './control.js'
import { toImageTensor } from './data.js'
import { Lock } from './lock.js'
import { Predictor } from './predictor.js'

const names = Object.keys(contenders) as Contender[]

/** Trains AdamW and AdamW + IRE in alternating steps, with the same model, data, seed and order of batches. */
export class Race {
  readonly #model: Model
  readonly #form: Form
  readonly #contestants: readonly Contestant[]
  readonly #control: Control
  /** Lock held during a prediction. */
  readonly #looks = new Lock()
  #looking: Predictor | undefined
  #over = false

  private constructor(model: Model, form: Form, contestants: readonly Contestant[], control: Control) {
    this.#model = model
    this.#form = form
    this.#contestants = contestants
    this.#control = control
  }

  /**
   * @param model the initial model with its new head
   * @param runtime creates a runtime per contender, which replaces a lost device itself
   */
  static async start(model: Model, form: Form, runtime: () => Promise<Runtime>, conditions: Conditions): Promise<Race> {
    const contestants: Contestant[] = []
    try {
      for (const name of names) contestants.push(await Contestant.create(name, model, await runtime(), conditions))
    } catch (error) {
      for (const contestant of contestants) await contestant.dispose()
      throw error
    }
    return new Race(model, form, contestants, conditions.control)
  }

  /** Trains both contenders until the end or until stopped. An error of one stops the other. */
  async run(): Promise<void> {
    const ends = this.#contestants.map((contestant) =>
      contestant.train().catch((error) => {
        this.#control.stop()
        throw error
      }),
    )
    const [failed] = (await Promise.allSettled(ends)).filter(({ status }) => status === 'rejected')
    if (failed) throw (failed as PromiseRejectedResult).reason
  }

  /** Class probabilities of each contender for an image, with the current weights. */
  async look(pixels: ImageData): Promise<Partial<Record<Contender, readonly number[]>>> {
    const free = await this.#looks.take()
    try {
      if (this.#over || this.#form.kind !== 'image') return {}
      const picture = await toImageTensor(pixels, this.#form)
      this.#looking ??= await Predictor.at(this.#model)
      const seen: Partial<Record<Contender, readonly number[]>> = {}
      for (const contestant of this.#contestants)
        seen[contestant.name] = await this.#looking.shares(picture, await contestant.exported())
      return seen
    } finally {
      free()
    }
  }

  async keep(): Promise<void> {
    for (const contestant of this.#contestants) await contestant.keep()
  }

  async resume(): Promise<void> {
    for (const contestant of this.#contestants) await contestant.resume()
  }

  async exported(name: Contender): Promise<Model> {
    return this.#contestants[names.indexOf(name)]!.exported()
  }

  async dispose(): Promise<void> {
    this.#control.stop()
    const free = await this.#looks.take()
    this.#over = true
    for (const contestant of this.#contestants) await contestant.dispose()
    await this.#looking?.dispose()
    free()
  }
}
