import {
  type Calls,
  type ContenderName,
  contenders,
  type DataSummary,
  type ModelSummary,
  type ProgressEvent,
  providers,
  type RoundEvent,
  type Settings,
  type StepEvent,
  type WorkerEvent,
} from '../protocol.js'
import { chooseSettings, type ModelKind } from './automatic-settings.js'
import { Curves } from './curves.js'
import type { DataOutline } from './data-panel.js'
import { byId, createElement, inputById, readNumber } from './dom.js'
import { Progress } from './progress.js'
import { runGuarded, showStatus } from './status.js'
import type { TryPanel } from './try-panel.js'

const button = (id: string) => byId<HTMLButtonElement>(id)
const select = (id: string) => byId<HTMLSelectElement>(id)

type Numbers = Omit<Settings, 'provider' | 'layers' | 'head' | 'flatness'>

/** Ids of the number fields, by setting. */
const numberFields: Readonly<Record<keyof Numbers, string>> = {
  epochs: 'epochs',
  batchSize: 'batch',
  lr: 'lr',
  weightDecay: 'decay',
  seed: 'seed',
  held: 'held',
  kappa: 'kappa',
  gamma: 'gamma',
  interval: 'interval',
}

const building = 'Preparing the training ...'

/** Describes the runtime of a training run, and why it was chosen. */
function runtimeText(event: Extract<WorkerEvent, { kind: 'runtime' }>): string {
  const { provider, description, reason, fallback } = event
  if (fallback) return `WebGPU cannot start here: training runs on WebAssembly. (${description}; ${fallback})`
  return reason ? `Runs on ${providers[provider]}: ${reason}. (${description})` : description
}

/** The second step: settings, and the progress of training. */
export class TrainingPanel {
  readonly #calls: Calls
  readonly #tried: TryPanel
  /** Reads the data, if they have changed. */
  readonly #prepare: () => Promise<DataSummary>
  readonly #loss = new Curves(byId('loss-chart'), 'Training loss', 'logarithmic')
  readonly #accuracy = new Curves(byId('accuracy-chart'), 'Held-out accuracy', 'percent')
  readonly #sharpness = new Curves(byId('sharpness-chart'), 'Sharpness', 'linear')
  readonly #latest = new Map<ContenderName, RoundEvent>()
  /** Ids of the fields that a person has changed. */
  readonly #chosen = new Set<string>()
  #progress = new Progress()
  #model: (ModelSummary & { readonly kind: ModelKind }) | undefined
  #data: DataOutline | null = null
  /** Whether the data of a training run are read. */
  #preparing = false
  #running = false
  #paused = false
  #isExample = false
  /** Shows that the last requested run has begun. */
  #begin = () => {}

  constructor(calls: Calls, tried: TryPanel, prepare: () => Promise<DataSummary>) {
    this.#calls = calls
    this.#tried = tried
    this.#prepare = prepare
    button('train').addEventListener('click', () => runGuarded(null, () => this.train()))
    button('pause').addEventListener('click', () => runGuarded(null, () => this.#pause()))
    button('stop').addEventListener('click', () => runGuarded(null, () => this.#calls.stop()))
    byId('settings').addEventListener('submit', (event) => event.preventDefault())
    for (const kind of ['input', 'change'] as const)
      byId('settings').addEventListener(kind, ({ target }) => {
        this.#chosen.add((target as HTMLElement).id)
        this.#choose()
      })
    button('automatic').addEventListener('click', () => {
      this.#chosen.clear()
      this.#choose()
    })
    const smoothing = inputById('smoothing')
    const smooth = () => {
      for (const curves of [this.#loss, this.#accuracy, this.#sharpness]) curves.smoothing = smoothing.valueAsNumber
    }
    smoothing.addEventListener('input', smooth)
    smooth()
    if ('gpu' in navigator) return
    select('provider').value = 'wasm'
    select('provider').disabled = true
    byId('no-webgpu').hidden = false
  }

  /** Whether the run that was started last trains on data of this page. */
  get isExample(): boolean {
    return this.#isExample
  }

  /** @param isOpened whether it is another model, and not another form of its input */
  onModel(model: ModelSummary, kind: ModelKind, isOpened: boolean): void {
    this.#model = { ...model, kind }
    // The curves of the model before are not those of this one.
    if (isOpened) byId('curves-section').hidden = byId('runtime').hidden = true
    this.#choose()
  }

  /** @param data null if there are none */
  onData(data: DataOutline | null): void {
    this.#data = data
    this.#choose()
    this.#buttons()
  }

  onEvent(event: WorkerEvent): void {
    if (event.kind === 'features') {
      // What was asked for before a pause may end after it.
      if (!this.#paused)
        showStatus(`Computing the features of the examples, once for both models: ${event.done} of ${event.total}.`)
    } else if (event.kind === 'timing') {
      if (!this.#paused) showStatus(`Timing a step on ${providers[event.provider]}, to choose what is faster here ...`)
    } else if (event.kind === 'reading') showStatus(`Reading the pictures, ${event.done} of ${event.total} ...`)
    else if (event.kind === 'step') {
      if (!this.#progress.begun && !this.#paused) showStatus('Training.')
      this.#addLoss(event)
      const { share, text } = this.#progress.after(event)
      byId<HTMLProgressElement>('progress').value = share
      byId('progress-text').textContent = text
      this.#tried.onWeights()
    } else if (event.kind === 'round') this.#onRound(event)
    else if (event.kind === 'lost')
      showStatus(
        `The GPU was lost; ${contenders[event.contender]} continues from step ${event.step} on a new device.`,
        'warning',
      )
    else {
      if (!this.#paused) showStatus(building)
      byId('runtime').hidden = false
      byId('runtime').textContent = runtimeText(event)
    }
  }

  /** Shows the settings of a stored training run. */
  show(settings: Settings): void {
    const { provider, layers = 'all', head = 'new', flatness, ...numbers } = settings
    select('provider').value = provider
    select('trained-layers').value = layers
    select('head').value = head
    inputById('flatness').checked = flatness
    for (const [key, id] of Object.entries(numberFields)) {
      inputById(id).valueAsNumber = numbers[key as keyof typeof numbers]
      this.#chosen.add(id)
    }
    for (const id of ['provider', 'trained-layers', 'head', 'flatness']) this.#chosen.add(id)
  }

  /** Draws the curves of a stored training run. */
  showHistory(history: readonly ProgressEvent[]): void {
    this.#clear()
    byId('curves-section').hidden = history.length === 0
    for (const event of history)
      if (event.kind === 'round') this.#onRound(event)
      else this.#addLoss(event)
  }

  /** Adds a loss at the number of steps so far, which evaluations are reported with. */
  #addLoss({ contender, step, loss }: StepEvent): void {
    this.#loss.add(contender, step + 1, loss)
  }

  #clear(): void {
    for (const curves of [this.#loss, this.#accuracy, this.#sharpness]) curves.clear()
    this.#latest.clear()
    for (const id of ['results', 'sharpness-chart']) byId(id).hidden = true
    byId('results-body').replaceChildren()
  }

  /** A run has begun: it was not refused, and takes the place of the run before. */
  onBegun(): void {
    this.#begin()
  }

  /**
   * @param options.resume whether it is the stored training run that was reopened
   * @param options.isExample whether the data are those of this page
   */
  async train({ resume = false, isExample = false } = {}): Promise<void> {
    // A second click on the button, while the data are read, starts no second run.
    if (this.#preparing || this.#running) return
    const settings = this.#settings()
    this.#preparing = true
    const { classes } = await this.#prepare().finally(() => {
      this.#preparing = false
    })
    this.#begin = () => {
      if (!resume) this.#clear()
      this.#progress = new Progress()
      byId<HTMLProgressElement>('progress').value = 0
      byId('progress-text').textContent = 'Preparing'
      byId('curves-section').hidden = false
      byId('runtime').hidden = true
      this.#tried.onStart(classes)
    }
    this.#running = true
    this.#isExample = isExample
    this.#buttons()
    showStatus(building)
    try {
      const { stopped } = await this.#calls.train(settings, resume)
      showStatus(stopped ? 'Stopped.' : 'Done: try the model, or download it.')
      this.#tried.onWeights(true)
    } finally {
      this.#running = false
      this.#buttons()
    }
  }

  async #pause(): Promise<void> {
    this.#paused = !this.#paused
    this.#buttons()
    this.#progress.interrupt()
    showStatus(this.#paused ? 'Paused.' : 'Training.')
    await this.#calls.pause(this.#paused)
  }

  #onRound(event: RoundEvent): void {
    this.#accuracy.add(event.contender, event.step, event.heldAccuracy)
    if (event.sharpness !== null) {
      byId('sharpness-chart').hidden = false
      this.#sharpness.add(event.contender, event.step, event.sharpness)
    }
    this.#latest.set(event.contender, event)
    byId('results').hidden = false
    byId('results-caption').textContent = `After epoch ${event.epoch + 1}`
    byId('results-body').replaceChildren(
      ...(Object.keys(contenders) as ContenderName[]).flatMap((contender) => {
        const round = this.#latest.get(contender)
        if (!round) return []
        const cells = [
          round.loss.toFixed(4),
          round.heldLoss.toFixed(4),
          `${(100 * round.heldAccuracy).toFixed(1)} %`,
          round.sharpness === null ? 'not measured' : round.sharpness.toPrecision(3),
        ]
        const name = createElement('th', { scope: 'row' }, contenders[contender])
        name.dataset['contender'] = contender
        return [
          createElement(
            'tr',
            { id: `result-${contender}` },
            name,
            ...cells.map((cell) => createElement('td', {}, cell)),
          ),
        ]
      }),
    )
  }

  /** Sets the fields that no person has changed, by model and data. */
  #choose(): void {
    if (!this.#model || this.#running) return
    const { kind, classes, labels } = this.#model
    const names = this.#data?.classes ?? []
    const isKept = labels ? String(labels) === String(names) : this.#data?.isNamed === false && classes === names.length
    const kept = select('head').options[1]!
    kept.disabled = classes !== names.length
    if (!this.#chosen.has('head') || kept.disabled) select('head').value = isKept ? 'kept' : 'new'
    if (!this.#data) {
      byId('plan').textContent = 'Give at least two classes some examples first.'
      return
    }
    const examples = this.#data.counts.reduce((sum, count) => sum + count, 0)
    const held = inputById('held').valueAsNumber || 0
    const { layers, ...numbers } = chooseSettings(kind, examples, held)
    if (!this.#chosen.has('trained-layers')) select('trained-layers').value = layers
    // Measuring the sharpness runs the whole model, which training the last layer on stored features avoids.
    if (!this.#chosen.has('flatness')) inputById('flatness').checked = select('trained-layers').value === 'all'
    for (const [key, value] of Object.entries(numbers)) {
      const id = numberFields[key as keyof typeof numbers]
      if (!this.#chosen.has(id)) inputById(id).valueAsNumber = value
    }
    const trained = examples - Math.round(examples * held)
    if (trained === examples) {
      byId('plan').textContent = 'Add more examples: some are held out, to measure how well it works on new ones.'
      return
    }
    const steps = inputById('epochs').valueAsNumber * Math.ceil(trained / inputById('batch').valueAsNumber)
    if (Number.isFinite(steps))
      byId('plan').textContent =
        `${trained} examples to learn from, in ${steps} steps; ${examples - trained} are held out to measure how well it works on new ones.`
  }

  #settings(): Settings {
    return {
      provider: select('provider').value as Settings['provider'],
      layers: select('trained-layers').value as Settings['layers'],
      head: select('head').value as NonNullable<Settings['head']>,
      ...(Object.fromEntries(Object.entries(numberFields).map(([key, id]) => [key, readNumber(id)])) as Numbers),
      flatness: inputById('flatness').checked,
    }
  }

  #buttons(): void {
    const focused = document.activeElement
    if (!this.#running) this.#paused = false
    button('train').disabled = this.#running || this.#data === null
    button('home').disabled = this.#running
    for (const id of ['pause', 'stop']) button(id).disabled = !this.#running
    byId('training-bar').hidden = !this.#running
    button('pause').textContent = this.#paused ? 'Go on' : 'Pause'
    for (const id of ['model-section', 'data-section', 'settings-section']) byId(id).inert = this.#running
    // A disabled button loses the focus, which moves to the enabled button.
    if (focused?.matches('#train:disabled')) button('pause').focus()
    else if (focused?.matches('#pause:disabled, #stop:disabled')) button('train').focus()
  }
}
