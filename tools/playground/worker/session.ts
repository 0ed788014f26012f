import { encodeModel, inspectModel, type Model, OnnxIreError, type Port, replaceHead, split } from 'onnx-ire'
import { importGraph } from 'onnx-ire/graph'
import { readModel, removeStored } from 'onnx-ire/web'
import type {
  Calls,
  Contender,
  DataChoice,
  DataSummary,
  Form,
  ModelSummary,
  Reopened,
  Settings,
  WorkerEvent,
} from '../protocol.js'
import { keptIn } from './contestant.js'
import { Control } from './control.js'
import { columnsOf, type Examples, examplesOf } from './data.js'
import { formOf, inputOf, outputOf } from './form.js'
import { type Begun, forget, keep, kept } from './kept.js'
import { Race } from './race.js'
import { runtimes } from './runtimes.js'

/** What the page has opened, and the training of it. */
export class Session implements Calls {
  readonly #tell: (event: WorkerEvent) => void
  #model:
    | { readonly source: File | string; readonly file: Model; readonly classes: number | null; form: Form }
    | undefined
  #examples: (Examples & { readonly choice: DataChoice }) | undefined
  #race: Race | undefined
  /** Of the training that is going on, from before the race has begun. */
  #control: Control | undefined
  /** What the training that is going on began with. */
  #begun: Begun | undefined

  constructor(tell: (event: WorkerEvent) => void) {
    this.#tell = tell
  }

  async open(source: File | string): Promise<ModelSummary> {
    this.#refuseWhileTraining()
    const file = await readModel(source)
    const graph = importGraph(file)
    const form = formOf(graph)
    const { layers, training, inputs, outputs } = inspectModel(file)
    if (training.blocked) throw new OnnxIreError('not-differentiable', training.blocked.message)
    const last = outputOf(graph).shape?.at(-1)
    const classes = typeof last === 'number' ? last : null
    await this.#closeRace()
    this.#model = { source, file, classes, form }
    this.#examples = undefined
    return {
      name: nameOf(source),
      bytes: encodeModel(file).byteLength,
      inputs: inputs.map(portText),
      outputs: outputs.map(portText),
      layers: layers
        .filter(({ parameters }) => parameters > 0)
        .map(({ name, operators, shape, parameters, trainable }) => ({
          name,
          operators: operators.join(', '),
          shape: shape?.join(' x ') ?? '?',
          parameters,
          trainable: trainable > 0,
        })),
      parameters: layers.reduce((sum, layer) => sum + layer.parameters, 0),
      trainable: training.elements,
      classes,
      form,
    }
  }

  async form(form: Form): Promise<void> {
    this.#refuseWhileTraining()
    this.#opened().form = form
    this.#examples = undefined
  }

  columns(file: File): Promise<readonly string[]> {
    return columnsOf(file)
  }

  async data(choice: DataChoice): Promise<DataSummary> {
    this.#refuseWhileTraining()
    const { file, form } = this.#opened()
    const [input] = inputOf(importGraph(file))
    this.#examples = { ...(await examplesOf(choice, form, input)), choice }
    return this.#examples.summary
  }

  async train(settings: Settings, resume = false): Promise<{ stopped: boolean }> {
    this.#refuseWhileTraining()
    const { file, form, classes } = this.#opened()
    if (!this.#examples) throw new OnnxIreError('invalid-option', 'There is no data yet: choose some first.')
    const { dataset, summary } = this.#examples
    const control = new Control()
    this.#control = control
    try {
      await this.#closeRace()
      const held = Math.round(summary.examples * settings.held)
      if (held < 1 || held >= summary.examples)
        throw new OnnxIreError(
          'invalid-option',
          `Of ${summary.examples} examples a share of ${settings.held} leaves none to ${held < 1 ? 'measure' : 'learn from'}: show more examples, or change the share held out.`,
        )
      const parts = split(dataset, { validation: settings.held, seed: settings.seed })
      const asked = summary.classes.length
      const model = asked === classes ? file : replaceHead(file, { classes: asked, seed: settings.seed })
      const runtime = runtimes(settings.provider, this.#tell)
      this.#race = await Race.start(model, form, runtime, { parts, settings, control, tell: this.#tell })
      this.#begun = { model: this.#opened().source, form, data: this.#examples.choice, settings }
      if (resume) await this.#race.resume()
      await this.#race.run()
      await this.forget()
    } catch (error) {
      throw form.open ? withSize(error, form) : error
    } finally {
      this.#control = undefined
      this.#begun = undefined
    }
    return { stopped: control.stopped }
  }

  async pause(paused: boolean): Promise<void> {
    this.#control?.pause(paused)
  }

  async stop(): Promise<void> {
    this.#control?.stop()
  }

  async keep(): Promise<void> {
    if (!this.#race || !this.#begun) return
    const begun = this.#begun
    // Without storage there is nothing to go on from, and nothing else is the worse for it.
    await this.#race
      .keep()
      .then(() => keep(begun))
      .catch(() => {})
    // It was over before it was kept.
    if (this.#begun !== begun) await this.forget()
  }

  async unfinished(): Promise<string | null> {
    const begun = await kept().catch(() => null)
    return begun && nameOf(begun.model)
  }

  async reopen(): Promise<Reopened> {
    const begun = await kept()
    if (!begun) throw new OnnxIreError('io', 'What was kept is there no more.')
    const model = { ...(await this.open(begun.model)), form: begun.form }
    await this.form(begun.form)
    return { model, data: await this.data(begun.data), settings: begun.settings }
  }

  async forget(): Promise<void> {
    await forget().catch(() => {})
    await removeStored(keptIn).catch(() => {})
  }

  async look(pixels: ImageData): Promise<Partial<Record<Contender, readonly number[]>>> {
    return (await this.#race?.look(pixels)) ?? {}
  }

  async exported(contender: Contender): Promise<Uint8Array> {
    if (!this.#race) throw new OnnxIreError('invalid-option', 'Nothing has been trained yet.')
    return encodeModel(await this.#race.exported(contender))
  }

  #opened() {
    if (!this.#model) throw new OnnxIreError('invalid-option', 'There is no model yet: open one first.')
    return this.#model
  }

  #refuseWhileTraining(): void {
    if (this.#control) throw new OnnxIreError('invalid-option', 'Training is going on: stop it first.')
  }

  async #closeRace(): Promise<void> {
    const race = this.#race
    this.#race = undefined
    await race?.dispose()
  }
}

/** A model whose file leaves the size open may nevertheless take one only. */
function withSize(error: unknown, { size }: Form): unknown {
  if (!(error instanceof OnnxIreError) || error.code !== 'runtime') return error
  return new OnnxIreError(
    'runtime',
    `The model does not run on pictures of ${size} x ${size}: its file leaves their size open, so try the side that it was made for. (${error.message})`,
    { cause: error },
  )
}

const nameOf = (source: File | string): string => (typeof source === 'string' ? source.split('/').at(-1)! : source.name)

const portText = ({ name, type, shape }: Port): string => `${name}: ${type} [${shape?.join(', ') ?? '?'}]`
