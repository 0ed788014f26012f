import type { Model, Runtime } from 'onnx-ire'
import { type ContenderName, contenders, type Form } from '../protocol.js'
import { type Conditions, Contender } from './contender.js'
import type { Control } from './control.js'
import { toTensor } from './data.js'
import { Lock } from './lock.js'
import { Predictor } from './predictor.js'

const names = Object.keys(contenders) as ContenderName[]

/** Trains AdamW and AdamW + IRE in alternating steps, with the same model, data, seed and order of batches. */
export class Race {
  readonly #model: Model
  readonly #form: Form
  readonly #contenders: readonly Contender[]
  readonly #control: Control
  /** Lock held during a prediction. */
  readonly #looks = new Lock()
  #looking: Predictor | undefined
  #over = false

  private constructor(model: Model, form: Form, members: readonly Contender[], control: Control) {
    this.#model = model
    this.#form = form
    this.#contenders = members
    this.#control = control
  }

  /**
   * @param model the initial model with its new head
   * @param runtime creates a runtime per contender, which replaces a lost device itself
   */
  static async start(model: Model, form: Form, runtime: () => Promise<Runtime>, conditions: Conditions): Promise<Race> {
    const created: Contender[] = []
    try {
      for (const name of names) created.push(await Contender.create(name, model, await runtime(), conditions))
    } catch (error) {
      for (const contender of created) await contender.dispose()
      throw error
    }
    return new Race(model, form, created, conditions.control)
  }

  /** Trains both contenders until the end or until stopped. An error of one stops the other. */
  async run(): Promise<void> {
    const ends = this.#contenders.map((contender) =>
      contender.train().catch((error) => {
        this.#control.stop()
        throw error
      }),
    )
    const [failed] = (await Promise.allSettled(ends)).filter(({ status }) => status === 'rejected')
    if (failed) throw (failed as PromiseRejectedResult).reason
  }

  /** Class probabilities of each contender for an image or a row, with the current weights. */
  async look(input: ImageData | readonly number[]): Promise<Partial<Record<ContenderName, readonly number[]>>> {
    const free = await this.#looks.take()
    try {
      if (this.#over) return {}
      const picture = await toTensor(input, this.#form)
      this.#looking ??= await Predictor.at(this.#model)
      const seen: Partial<Record<ContenderName, readonly number[]>> = {}
      for (const contender of this.#contenders)
        seen[contender.name] = await this.#looking.shares(picture, await contender.exported())
      return seen
    } finally {
      free()
    }
  }

  /** Number of steps of both contenders so far. */
  get steps(): number {
    return this.#contenders.reduce((sum, { step }) => sum + step, 0)
  }

  /** Number of steps of each contender so far. */
  get stepsOf(): Readonly<Partial<Record<ContenderName, number>>> {
    return Object.fromEntries(this.#contenders.map(({ name, step }) => [name, step]))
  }

  /** Stores checkpoints of both contenders. */
  async keep(): Promise<void> {
    for (const contender of this.#contenders) await contender.keep()
  }

  async resume(): Promise<void> {
    for (const contender of this.#contenders) await contender.resume()
  }

  async exported(name: ContenderName): Promise<Model> {
    return this.#contenders[names.indexOf(name)]!.exported()
  }

  async dispose(): Promise<void> {
    this.#control.stop()
    const free = await this.#looks.take()
    this.#over = true
    for (const contender of this.#contenders) await contender.dispose()
    await this.#looking?.dispose()
    free()
  }
}
