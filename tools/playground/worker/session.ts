import {
  addUsage,
  encodeModel,
  inspectModel,
  type Model,
  type ModelPort,
  type ModelUsage,
  OnnxIreError,
  readUsage,
  replaceHead,
  split,
} from 'onnx-ire'
import { importGraph } from 'onnx-ire/graph'
import { readModel } from 'onnx-ire/web'
import type {
  Calls,
  ContenderName,
  DataChoice,
  DataSummary,
  Form,
  ModelSummary,
  Reopened,
  Settings,
  Unfinished,
  WorkerEvent,
} from '../protocol.js'
import { Control } from './control.js'
import { type Examples, readColumns, readExamples } from './data.js'
import { deriveForm, describedForm, findInput, findOutput, toImageOptions } from './form.js'
import { Race } from './race.js'
import { createRuntimeFactory } from './runtime-factory.js'
import {
  checkpointRoot,
  deleteStoredRun,
  findUnfinishedRuns,
  lockRun,
  readStoredRun,
  type StoredRun,
  writeStoredRun,
} from './stored-run.js'

/** A training run that is locked for this tab. */
interface LockedRun {
  readonly id: string
  readonly unlock: () => void
}

/** The training run in progress. */
interface CurrentRun extends LockedRun {
  readonly begun: Omit<StoredRun, 'id' | 'storedAt'>
  isStored: boolean
}

/** Model, data and training run of the page. */
export class Session implements Calls {
  readonly #tell: (event: WorkerEvent) => void
  #model:
    | { readonly source: File | string; readonly file: Model; readonly classes: number | null; form: Form }
    | undefined
  #examples: (Examples & { readonly choice: DataChoice }) | undefined
  #race: Race | undefined
  /** Classes and images of the race. */
  #usage: ModelUsage = {}
  /** Control of the current training run, set before the race begins. */
  #control: Control | undefined
  #current: CurrentRun | undefined
  /** The stored run that was opened last, until it is trained. */
  #reopened: LockedRun | undefined
  /** The last writing of the current run, which does not reject. */
  #keeping: Promise<unknown> = Promise.resolve()

  constructor(tell: (event: WorkerEvent) => void) {
    this.#tell = tell
  }

  async open(source: File | string): Promise<ModelSummary> {
    this.#refuseWhileTraining()
    const file = await readModel(source)
    const graph = importGraph(file)
    const form = describedForm(deriveForm(graph), readUsage(file).image)
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
    let own: LockedRun | undefined
    try {
      own = await this.#lockOwn(resume)
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
      this.#usage = { classes: summary.classes, ...(form.kind === 'image' ? { image: toImageOptions(form) } : {}) }
      this.#race = await Race.start(model, form, runtime, {
        parts,
        settings,
        control,
        tell: this.#tell,
        folder: checkpointRoot(own.id),
      })
      if (resume) await this.#race.resume()
      const begun = { model: this.#opened().source, form, data: this.#examples.choice, settings }
      this.#current = { ...own, begun, isStored: resume }
      await this.#race.run()
      this.#current = undefined
      await this.#keeping
      await deleteStoredRun(own.id).catch(() => {})
    } catch (error) {
      throw form.open ? withSize(error, form) : error
    } finally {
      this.#control = undefined
      this.#current = undefined
      await this.#keeping
      own?.unlock()
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
    const kept = this.#keeping.then(() => this.#store())
    this.#keeping = kept.catch(() => {})
    await kept
  }

  async unfinished(): Promise<Unfinished | null> {
    // Without storage there are no stored runs; everything else works.
    const [run] = await findUnfinishedRuns().catch(() => [])
    return run ? { id: run.id, model: nameOf(run.model) } : null
  }

  async reopen(id: string): Promise<Reopened> {
    this.#refuseWhileTraining()
    this.#reopened?.unlock()
    this.#reopened = undefined
    const unlock = await lockStored(id)
    try {
      const begun = await readStoredRun(id)
      if (!begun) throw new OnnxIreError('io', 'The stored training run no longer exists.')
      const model = { ...(await this.open(begun.model)), form: begun.form }
      await this.form(begun.form)
      const data = await this.data(begun.data)
      this.#reopened = { id, unlock }
      return { model, data, settings: begun.settings }
    } catch (error) {
      unlock()
      throw error
    }
  }

  async forget(id: string): Promise<void> {
    const unlock = await lockStored(id)
    try {
      await deleteStoredRun(id)
    } finally {
      unlock()
    }
  }

  async look(pixels: ImageData): Promise<Partial<Record<ContenderName, readonly number[]>>> {
    return (await this.#race?.look(pixels)) ?? {}
  }

  async exported(contender: ContenderName): Promise<Uint8Array> {
    if (!this.#race) throw new OnnxIreError('invalid-option', 'Nothing has been trained yet.')
    return encodeModel(addUsage(await this.#race.exported(contender), this.#usage))
  }

  /** Locks a new run, or returns the reopened one, which is locked already. */
  async #lockOwn(resume: boolean): Promise<LockedRun> {
    const reopened = this.#reopened
    this.#reopened = undefined
    if (reopened && resume) return reopened
    reopened?.unlock()
    const id = createRunId()
    return { id, unlock: await lockStored(id) }
  }

  async #store(): Promise<void> {
    const current = this.#current
    if (!this.#race || !current) return
    const { id, begun } = current
    try {
      await this.#race.keep()
      await writeStoredRun({ ...begun, id, storedAt: Date.now() })
      current.isStored = true
    } catch (error) {
      // Half of a run is of no use, and it occupies storage.
      if (!current.isStored) await deleteStoredRun(id).catch(() => {})
      throw error
    }
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

/** Locks a stored run. Throws 'locked' if another tab is training it. */
async function lockStored(id: string): Promise<() => void> {
  const unlock = await lockRun(id)
  if (unlock) return unlock
  throw new OnnxIreError('locked', 'This training run continues in another tab.')
}

const createRunId = (): string => Array.from(crypto.getRandomValues(new Uint32Array(4))).join('-')

const nameOf = (source: File | string): string => (typeof source === 'string' ? source.split('/').at(-1)! : source.name)

const portText = ({ name, type, shape }: ModelPort): string => `${name}: ${type} [${shape?.join(', ') ?? '?'}]`
