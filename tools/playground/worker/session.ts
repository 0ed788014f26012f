import { encodeModel, inspectModel, type Model, type ModelPort, OnnxIreError, replaceHead, split } from 'onnx-ire'
import { importGraph } from 'onnx-ire/graph'
import { readModel, storage } from 'onnx-ire/web'
import type {
  Calls,
  ContenderName,
  DataChoice,
  DataSummary,
  Form,
  ModelSummary,
  Reopened,
  Settings,
  WorkerEvent,
} from '../protocol.js'
import { checkpointRoot } from './contender.js'
import { Control } from './control.js'
import { type Examples, readColumns, readExamples } from './data.js'
import { deriveForm, findInput, findOutput } from './form.js'
import { Race } from './race.js'
import { createRuntimeFactory } from './runtime-factory.js'
import { deleteStoredRun, readStoredRun, type StoredRun, writeStoredRun } from './stored-run.js'

/** Model, data and training run of the page. */
export class Session implements Calls {
  readonly #tell: (event: WorkerEvent) => void
  #model:
    | { readonly source: File | string; readonly file: Model; readonly classes: number | null; form: Form }
    | undefined
  #examples: (Examples & { readonly choice: DataChoice }) | undefined
  #race: Race | undefined
  /** Control of the current training run, set before the race begins. */
  #control: Control | undefined
  /** Initial state of the current training run. */
  #begun: StoredRun | undefined

  constructor(tell: (event: WorkerEvent) => void) {
    this.#tell = tell
  }

  async open(source: File | string): Promise<ModelSummary> {
    this.#refuseWhileTraining()
    const file = await readModel(source)
    const graph = importGraph(file)
    const form = deriveForm(graph)
    const { layers, training, inputs, outputs } = inspectModel(file)
    if (training.blocked) throw new OnnxIreError('not-differentiable', training.blocked.message)
    const last = findOutput(graph).shape?.at(-1)
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
    return readColumns(file)
  }

  async data(choice: DataChoice): Promise<DataSummary> {
    this.#refuseWhileTraining()
    const { file, form } = this.#opened()
    const [input] = findInput(importGraph(file))
    this.#examples = { ...(await readExamples(choice, form, input)), choice }
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
          `Of ${summary.examples} examples a share of ${settings.held} leaves none for ${held < 1 ? 'evaluation' : 'training'}: add examples, or change the held-out share.`,
        )
      const parts = split(dataset, { validation: settings.held, seed: settings.seed })
      const asked = summary.classes.length
      const model = asked === classes ? file : replaceHead(file, { classes: asked, seed: settings.seed })
      const runtime = createRuntimeFactory(settings.provider, this.#tell)
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
    // Without storage a run cannot be resumed; everything else works.
    await this.#race
      .keep()
      .then(() => writeStoredRun(begun))
      .catch(() => {})
    // The run ended before it was stored.
    if (this.#begun !== begun) await this.forget()
  }

  async unfinished(): Promise<string | null> {
    const begun = await readStoredRun().catch(() => null)
    return begun && nameOf(begun.model)
  }

  async reopen(): Promise<Reopened> {
    const begun = await readStoredRun()
    if (!begun) throw new OnnxIreError('io', 'The stored training run no longer exists.')
    const model = { ...(await this.open(begun.model)), form: begun.form }
    await this.form(begun.form)
    return { model, data: await this.data(begun.data), settings: begun.settings }
  }

  async forget(): Promise<void> {
    await deleteStoredRun().catch(() => {})
    await storage.remove(checkpointRoot).catch(() => {})
  }

  async look(pixels: ImageData): Promise<Partial<Record<ContenderName, readonly number[]>>> {
    return (await this.#race?.look(pixels)) ?? {}
  }

  async exported(contender: ContenderName): Promise<Uint8Array> {
    if (!this.#race) throw new OnnxIreError('invalid-option', 'Nothing has been trained yet.')
    return encodeModel(await this.#race.exported(contender))
  }

  #opened() {
    if (!this.#model) throw new OnnxIreError('invalid-option', 'There is no model yet: open one first.')
    return this.#model
  }

  #refuseWhileTraining(): void {
    if (this.#control) throw new OnnxIreError('invalid-option', 'A training run is in progress: stop it first.')
  }

  async #closeRace(): Promise<void> {
    const race = this.#race
    this.#race = undefined
    await race?.dispose()
  }
}

/** Explains an error of a model that declares a variable image size but runs at one size only. */
function withSize(error: unknown, { size }: Form): unknown {
  if (!(error instanceof OnnxIreError) || error.code !== 'runtime') return error
  return new OnnxIreError(
    'runtime',
    `The model does not run on images of ${size} x ${size}. Its file does not fix the size; try the size it was trained with. (${error.message})`,
    { cause: error },
  )
}

const nameOf = (source: File | string): string => (typeof source === 'string' ? source.split('/').at(-1)! : source.name)

const portText = ({ name, type, shape }: ModelPort): string => `${name}: ${type} [${shape?.join(', ') ?? '?'}]`
