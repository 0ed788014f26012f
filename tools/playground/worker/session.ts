import {
  encodeModel,
  importGraph,
  inspectModel,
  type Model,
  OnnxIreError,
  type Port,
  type Runtime,
  replaceHead,
} from 'onnx-ire'
import { loadModel, wasm, webgpu } from 'onnx-ire/web'
import type {
  Calls,
  Contender,
  DataChoice,
  DataSummary,
  Form,
  ModelSummary,
  Settings,
  WorkerEvent,
} from '../protocol.js'
import { contenders } from '../protocol.js'
import { columnsOf, type Examples, examplesOf, pictureOf } from './data.js'
import { formOf, inputOf } from './form.js'
import { Looking } from './looking.js'
import { Race } from './race.js'

/** What the page has opened, and the training of it. */
export class Session implements Calls {
  readonly #tell: (event: WorkerEvent) => void
  #model: { readonly file: Model; form: Form } | undefined
  #examples: Examples | undefined
  #race: Race | undefined
  #runtime: Runtime | undefined
  #looking: Looking | undefined

  constructor(tell: (event: WorkerEvent) => void) {
    this.#tell = tell
  }

  async open(source: File | string): Promise<ModelSummary> {
    this.#refuseWhileTraining()
    const file = await loadModel(source)
    const graph = importGraph(file)
    const form = formOf(graph)
    const { layers, training, inputs, outputs } = inspectModel(file)
    if (training.blocked) throw new OnnxIreError('not-differentiable', training.blocked.message)
    await this.#closeRace()
    this.#model = { file, form }
    this.#examples = undefined
    const [output] = graph.outputs.values()
    const classes = output?.shape?.at(-1)
    return {
      name: typeof source === 'string' ? source.split('/').at(-1)! : source.name,
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
      classes: typeof classes === 'number' ? classes : null,
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
    this.#examples = await examplesOf(choice, form, input)
    return this.#examples.summary
  }

  async train(settings: Settings): Promise<{ stopped: boolean }> {
    this.#refuseWhileTraining()
    const { file } = this.#opened()
    if (!this.#examples) throw new OnnxIreError('invalid-option', 'There is no data yet: choose some first.')
    const { dataset, summary } = this.#examples
    await this.#closeRace()
    const model = replaceHead(file, { classes: summary.classes.length, seed: settings.seed })
    this.#runtime = await this.#started(settings.provider)
    this.#race = await Race.start(model, dataset, settings, this.#runtime, this.#tell)
    return this.#race.run()
  }

  async pause(paused: boolean): Promise<void> {
    this.#race?.pause(paused)
  }

  async stop(): Promise<void> {
    this.#race?.stop()
  }

  async look(data: ImageData): Promise<Partial<Record<Contender, readonly number[]>>> {
    const { form } = this.#opened()
    if (!this.#race || form.kind !== 'image') return {}
    const picture = await pictureOf(data, form)
    this.#looking ??= await Looking.at(this.#race.model)
    const seen: Partial<Record<Contender, readonly number[]>> = {}
    for (const contender of Object.keys(contenders) as Contender[])
      seen[contender] = await this.#looking.shares(picture, await this.#race.parameters(contender))
    return seen
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
    if (this.#race?.running) throw new OnnxIreError('invalid-option', 'Training is going on: stop it first.')
  }

  async #closeRace(): Promise<void> {
    await this.#looking?.dispose()
    await this.#race?.dispose()
    await this.#runtime?.dispose()
    this.#looking = undefined
    this.#race = undefined
    this.#runtime = undefined
  }

  async #started(provider: Settings['provider']): Promise<Runtime> {
    let fallback: string | null = null
    const instead = async () => {
      fallback = 'not there'
      return wasm()
    }
    const runtime = provider === 'webgpu' ? await webgpu({ fallback: instead }) : await wasm()
    if (fallback) fallback = runtime.description.split('; ').slice(1).join('; ')
    this.#tell({ kind: 'runtime', description: runtime.description.split('; ')[0]!, fallback })
    return runtime
  }
}

const portText = ({ name, type, shape }: Port): string => `${name}: ${type} [${shape?.join(', ') ?? '?'}]`
