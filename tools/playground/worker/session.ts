import { addUsage, encodeModel, type Model, OnnxIreError, replaceHead } from 'onnx-ire'
import { importGraph } from 'onnx-ire/graph'
import { storage, wasm } from 'onnx-ire/web'
import {
  type Calls,
  type ContenderName,
  type ContenderResult,
  contenders,
  type DataChoice,
  type DataSummary,
  type FinishedRun,
  type Form,
  type KeepingEvent,
  type Looker,
  type ModelSummary,
  type ProgressEvent,
  type Reopened,
  type Settings,
  type ShownChoice,
  type TableChoice,
  type TablePreview,
  type TakeAway,
  type TakenFile,
  type Unfinished,
  type WorkerEvent,
} from '../protocol.js'
import { chooseProvider } from './choose-provider.js'
import { Control } from './control.js'
import { type Examples, readExamples, toTensor } from './data.js'
import { checkHeldOut, type Description, describeRun } from './describe-run.js'
import { findInput } from './form.js'
import { History } from './history.js'
import { KeptRun } from './kept-run.js'
import { Lock } from './lock.js'
import { nameOf, type OpenModel, openModel } from './open-model.js'
import { Predictor } from './predictor.js'
import { readTablePreview } from './preview.js'
import { Race } from './race.js'
import { createRuntimeFactory } from './runtime-factory.js'
import {
  deleteStoredRun,
  findFinishedRuns,
  findUnfinishedRuns,
  lockRun,
  readStoredRun,
  runFolder,
  tunedPath,
  writeStoredRun,
} from './stored-run.js'
import { createTableModel } from './table-model.js'
import type { TrainedRun } from './take-away/trained-run.js'
import { TunedModels } from './tuned-models.js'

/** A training run that is locked for this tab. */
interface LockedRun {
  readonly id: string
  readonly unlock: () => void
}

type Results = Partial<Record<ContenderName, ContenderResult>>

/** Model, data and training run of the page. */
export class Session implements Calls {
  readonly #tell: (event: WorkerEvent | KeepingEvent) => void
  #model: OpenModel | undefined
  #examples: Examples | undefined
  #race: Race | undefined
  /** Models of a finished run that was reopened. */
  #tuned: TunedModels | undefined
  /** The run of the race or of the tuned models. */
  #trained: Description | undefined
  /** The open model before training, with a last layer of this many classes. */
  #untrained: { readonly classes: number; readonly model: Model; readonly predictor: Promise<Predictor> } | undefined
  /** Control of the current training run, set before the race begins. */
  #control: Control | undefined
  #kept: KeptRun | undefined
  /** The stored examples that have not been trained on. */
  #draft: LockedRun | undefined
  /** Lock held while these examples are stored, or become those of a run. */
  readonly #drafting = new Lock()
  /** The data that were requested last; undefined after a change of the model. */
  #requested: DataChoice | undefined
  /** Progress of the run of the race or of the tuned models. */
  #history = new History()
  /** The stored run that was opened last, until it is trained. */
  #reopened: LockedRun | undefined

  constructor(tell: (event: WorkerEvent | KeepingEvent) => void) {
    this.#tell = tell
  }

  async warmUp(): Promise<void> {
    // The browser may start a process for the graphics card.
    void navigator.gpu?.requestAdapter().catch(() => null)
    await (await wasm()).dispose()
  }

  async open(source: File | string): Promise<ModelSummary> {
    this.#refuseWhileTraining()
    const { model, summary } = await openModel(source)
    // A run may have begun meanwhile.
    this.#refuseWhileTraining()
    this.#draft?.unlock()
    this.#draft = undefined
    this.#model = model
    this.#examples = this.#requested = undefined
    // No run begins with the data of the model before: from the check to here nothing is awaited.
    await Promise.all([this.#closeModels(), this.#closeUntrained()])
    return summary
  }

  async form(form: Form): Promise<void> {
    this.#refuseWhileTraining()
    this.#opened().form = form
    this.#examples = this.#requested = undefined
  }

  previewTable(file: File): Promise<TablePreview> {
    return readTablePreview(file)
  }

  createTableModel(choice: TableChoice): Promise<File> {
    return createTableModel(choice)
  }

  async data(choice: DataChoice): Promise<DataSummary> {
    this.#refuseWhileTraining()
    const { file, form } = this.#opened()
    const [input] = findInput(importGraph(file))
    const onFile = (done: number, total: number) => this.#tell({ kind: 'reading', done, total })
    this.#requested = choice
    const examples = await readExamples(choice, form, input, onFile)
    if (this.#requested !== choice)
      throw new OnnxIreError(
        'invalid-option',
        'These data are not used: the model or the data were changed while they were read.',
      )
    this.#examples = examples
    return examples.summary
  }

  async train(settings: Settings, resume = false): Promise<{ stopped: boolean }> {
    this.#refuseWhileTraining()
    const { source, file, form } = this.#opened()
    if (!this.#examples) throw new OnnxIreError('invalid-option', 'There is no data yet: choose some first.')
    const { summary, choice } = this.#examples
    // The models of an earlier run stay open if this one is refused.
    checkHeldOut(summary, settings)
    const control = new Control()
    this.#control = control
    this.#requested = undefined
    const isShown = choice.kind === 'shown'
    let own: LockedRun | undefined
    this.#tell({ kind: 'begun' })
    const results: Results = {}
    const tell = (event: WorkerEvent) => {
      if (event.kind === 'round') {
        const { heldLoss, heldAccuracy } = event
        results[event.contender] = { heldLoss, heldAccuracy }
      }
      if (event.kind === 'round' || event.kind === 'step') this.#history.add(event)
      this.#tell(event)
    }
    /** The reason why the run is not stored. */
    let unkept: string | null = null
    try {
      own = await this.#lockOwn(resume, isShown)
      const { events } = this.#history
      await this.#closeModels()
      const trained = await this.#describe(settings)
      const { parts, newHead, usage } = trained
      this.#trained = trained
      const model = newHead === null ? file : replaceHead(file, { classes: newHead, seed: settings.seed })
      const planned = { settings, original: file, model, form, parts, signal: control.signal }
      const runtime = createRuntimeFactory(await chooseProvider(planned, tell), tell)
      const folder = runFolder(own.id)
      const race = await Race.start(model, form, runtime, { parts, settings, control, tell, folder })
      this.#race = race
      if (resume) {
        await race.resume()
        this.#history = new History(events, race.stepsOf)
      }
      const stored = { id: own.id, model: nameOf(source), form, settings, startedAt: Date.now(), finished: null }
      this.#kept = KeptRun.start(
        () => ({ ...stored, history: this.#history.events }),
        { source, data: choice },
        race,
        resume,
        (reason) => {
          unkept = reason
          this.#tell({ kind: 'kept', reason })
        },
      )
      await race.run()
      if (race.steps === 0) await this.#kept.end(isShown)
      else unkept = await this.#finish(this.#kept, race, usage, results)
    } catch (error) {
      unkept = (error as Error).message
      await this.#kept?.end(isShown)
      throw form.open ? withSize(error, form) : error
    } finally {
      this.#control = this.#kept = undefined
      const isTuned = own !== undefined && this.#race !== undefined && this.#race.steps > 0
      // Examples that were not learned from can still be added to.
      if (own && isShown && !isTuned) this.#draft = own
      else own?.unlock()
      this.#tell({ kind: 'ended', run: isTuned ? own!.id : null, reason: isTuned ? unkept : null })
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
    await this.#kept?.save()
  }

  async keepExamples(choice: ShownChoice): Promise<void> {
    const free = await this.#drafting.take()
    try {
      await this.#keepExamples(choice)
    } finally {
      free()
    }
  }

  async #keepExamples(choice: ShownChoice): Promise<void> {
    if (this.#control || !this.#model) return
    const { source, form } = this.#model
    if (choice.examples.length === 0) {
      if (this.#draft) await deleteStoredRun(this.#draft.id)
      return
    }
    if (!this.#draft) {
      const id = createRunId()
      this.#draft = { id, unlock: await lockStored(id) }
    }
    await writeStoredRun(
      {
        id: this.#draft.id,
        model: nameOf(source),
        form,
        settings: null,
        history: [],
        startedAt: Date.now(),
        finished: null,
      },
      { source, data: choice },
    )
  }

  async unfinished(): Promise<Unfinished | null> {
    // Without storage there are no stored runs; everything else works.
    const [run] = await findUnfinishedRuns().catch(() => [])
    return run ? { id: run.id, model: run.model, isBegun: run.settings !== null } : null
  }

  async finished(): Promise<readonly FinishedRun[]> {
    const runs = await findFinishedRuns().catch(() => [])
    return runs.map(({ id, model, finished }) => ({ id, model, ...finished }))
  }

  async tuned(id: string, contender: ContenderName): Promise<Uint8Array> {
    return new Uint8Array(await (await storage.read(tunedPath(id, contender))).arrayBuffer())
  }

  async reopen(id: string): Promise<Reopened> {
    this.#refuseWhileTraining()
    this.#reopened?.unlock()
    this.#reopened = undefined
    const unlock = await lockStored(id)
    try {
      const begun = await readStoredRun(id)
      if (!begun) throw new OnnxIreError('io', 'The stored training run no longer exists.')
      const { source, form, data, settings, history, finished } = begun
      const tuned = finished ? (contender: ContenderName) => this.tuned(id, contender) : undefined
      const reopened = await this.#reopen(source, form, data, settings, history, tuned)
      if (finished) unlock()
      else if (settings) this.#reopened = { id, unlock }
      else this.#draft = { id, unlock }
      return reopened
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

  async look(
    input: ImageData | readonly number[],
    classes: number,
  ): Promise<Partial<Record<Looker, readonly number[]>>> {
    const trained = this.#race ?? this.#tuned
    if (trained) return trained.look(input)
    const opened = this.#model
    if (this.#control || !opened) return {}
    const { file, form, classes: own } = opened
    const picture = await toTensor(input, form)
    const isOther = this.#untrained?.classes !== classes
    if (isOther) await this.#closeUntrained()
    // Another model may have been opened meanwhile.
    if (this.#model !== opened) return {}
    if (isOther || !this.#untrained) {
      const model = classes === own ? file : replaceHead(file, { classes, seed: 0 })
      this.#untrained = { classes, model, predictor: Predictor.at(model) }
    }
    const { predictor, model } = this.#untrained
    return { untrained: await (await predictor).shares(picture, model) }
  }

  async exported(contender: ContenderName): Promise<Uint8Array> {
    if (this.#tuned) return this.#tuned.exported(contender)
    if (!this.#race) throw new OnnxIreError('invalid-option', 'Nothing has been trained yet.')
    return encodeModel(addUsage(await this.#race.exported(contender), this.#trained!.usage))
  }

  async takeAway(what: TakeAway, contender: ContenderName): Promise<TakenFile> {
    if (!this.#trained) throw new OnnxIreError('invalid-option', 'Nothing has been trained yet.')
    const tuned = (name: ContenderName) => this.exported(name)
    // Loaded on demand: most visits end before.
    const { takeAway } = await import('./take-away/take-away.js')
    return takeAway({ ...this.#trained, history: this.#history.events, tuned }, what, contender)
  }

  async openProject(file: File): Promise<Reopened> {
    this.#refuseWhileTraining()
    const { readProject } = await import('./take-away/take-away.js')
    const { model: source, form, choice, settings, history, tuned } = await readProject(file)
    return this.#reopen(source, form, choice, settings, history, async (contender) => tuned.get(contender)!)
  }

  /** Opens a run: its model, its data, and its tuned models if it is finished. */
  async #reopen(
    source: File | string,
    { size, normalization }: Pick<Form, 'size' | 'normalization'>,
    choice: DataChoice,
    settings: Settings | null,
    history: readonly ProgressEvent[],
    tuned?: (contender: ContenderName) => Promise<Uint8Array>,
  ): Promise<Reopened> {
    const opened = await this.open(source)
    const form = { ...opened.form, size: opened.form.open ? size : opened.form.size, normalization }
    await this.form(form)
    const model = { ...opened, form }
    // Examples that were not trained on may be of one class so far.
    if (!settings) return { model, choice, training: null }
    const data = await this.data(choice)
    this.#history = new History(history)
    if (tuned) {
      this.#trained = await this.#describe(settings)
      this.#tuned = await TunedModels.read(tuned, form)
    }
    return { model, choice, training: { data, settings, history } }
  }

  #describe(settings: Settings): Promise<Description> {
    return describeRun(this.#opened(), this.#examples!, settings)
  }

  /** Stores the tuned models of a run; returns the reason if that fails. */
  async #finish(kept: KeptRun, race: Race, usage: TrainedRun['usage'], results: Results): Promise<string | null> {
    try {
      const models = new Map<ContenderName, Model>()
      for (const name of Object.keys(contenders) as ContenderName[])
        models.set(name, addUsage(await race.exported(name), usage))
      await kept.finish(models, usage.classes, results)
      return null
    } catch (error) {
      return (error as Error).message
    }
  }

  /** Locks a new run, or returns the reopened one or that of the shown examples, which are locked already. */
  async #lockOwn(resume: boolean, isShown: boolean): Promise<LockedRun> {
    const reopened = this.#reopened
    this.#reopened = undefined
    if (reopened && resume) return reopened
    reopened?.unlock()
    const free = await this.#drafting.take()
    free()
    if (isShown && this.#draft) {
      const draft = this.#draft
      this.#draft = undefined
      return draft
    }
    const id = createRunId()
    return { id, unlock: await lockStored(id) }
  }

  #opened() {
    if (!this.#model) throw new OnnxIreError('invalid-option', 'There is no model yet: open one first.')
    return this.#model
  }

  #refuseWhileTraining(): void {
    if (this.#control) throw new OnnxIreError('invalid-option', 'A training run is in progress: stop it first.')
  }

  async #closeUntrained(): Promise<void> {
    const untrained = this.#untrained
    this.#untrained = undefined
    // If it could not be created, the prediction that needed it has reported the error.
    await untrained?.predictor.then(
      (predictor) => predictor.dispose(),
      () => {},
    )
  }

  async #closeModels(): Promise<void> {
    const models = [this.#race, this.#tuned]
    this.#race = undefined
    this.#tuned = undefined
    this.#trained = undefined
    this.#history = new History()
    for (const each of models) await each?.dispose()
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
