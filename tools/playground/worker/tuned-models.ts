import { decodeModel, type Model } from 'onnx-ire'
import { type ContenderName, contenders, type Form } from '../protocol.js'
import { toTensor } from './data.js'
import { Lock } from './lock.js'
import { Predictor } from './predictor.js'

const names = Object.keys(contenders) as ContenderName[]

/** The tuned models of a finished run, for predictions and downloads. */
export class TunedModels {
  readonly #files: ReadonlyMap<ContenderName, Uint8Array>
  readonly #models: ReadonlyMap<ContenderName, Model>
  readonly #form: Form
  /** Lock held during a prediction. */
  readonly #looks = new Lock()
  #predictor: Predictor | undefined
  #isOver = false

  private constructor(files: ReadonlyMap<ContenderName, Uint8Array>, form: Form) {
    this.#files = files
    this.#models = new Map([...files].map(([name, bytes]) => [name, decodeModel(bytes)]))
    this.#form = form
  }

  static async read(file: (contender: ContenderName) => Promise<Uint8Array>, form: Form): Promise<TunedModels> {
    return new TunedModels(
      new Map(await Promise.all(names.map(async (name) => [name, await file(name)] as const))),
      form,
    )
  }

  /** Class probabilities of each model for an image or a row. */
  async look(input: ImageData | readonly number[]): Promise<Partial<Record<ContenderName, readonly number[]>>> {
    const free = await this.#looks.take()
    try {
      if (this.#isOver) return {}
      const picture = await toTensor(input, this.#form)
      this.#predictor ??= await Predictor.at(this.#models.get('base')!)
      const seen: Partial<Record<ContenderName, readonly number[]>> = {}
      for (const [name, model] of this.#models) seen[name] = await this.#predictor.shares(picture, model)
      return seen
    } finally {
      free()
    }
  }

  exported(contender: ContenderName): Uint8Array {
    return this.#files.get(contender)!
  }

  async dispose(): Promise<void> {
    const free = await this.#looks.take()
    this.#isOver = true
    await this.#predictor?.dispose()
    free()
  }
}
