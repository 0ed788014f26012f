import {
  type Calls,
  type ContenderName,
  contenders,
  type RoundEvent,
  type Settings,
  type WorkerEvent,
} from '../protocol.js'
import { Curves } from './curves.js'
import { byId, createElement, inputById, readNumber } from './dom.js'
import { Progress } from './progress.js'
import { runGuarded, showStatus } from './status.js'
import type { TryPanel } from './try-panel.js'

const button = (id: string) => byId<HTMLButtonElement>(id)

type Numbers = Omit<Settings, 'provider' | 'layers' | 'flatness'>

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

/** The third and fourth sections: settings, and the progress of training. */
export class TrainingPanel {
  readonly #calls: Calls
  readonly #tried: TryPanel
  readonly #loss = new Curves(byId('loss-chart'), 'Training loss', { logarithmic: true })
  readonly #accuracy = new Curves(byId('accuracy-chart'), 'Held-out accuracy', { percent: true })
  readonly #sharpness = new Curves(byId('sharpness-chart'), 'Sharpness')
  readonly #latest = new Map<ContenderName, RoundEvent>()
  #progress = new Progress()
  #classes: readonly string[] = []
  #running = false
  #paused = false

  constructor(calls: Calls, tried: TryPanel) {
    this.#calls = calls
    this.#tried = tried
    button('train').addEventListener('click', () => runGuarded(null, () => this.#train()))
    button('pause').addEventListener('click', () => runGuarded(null, () => this.#pause()))
    button('stop').addEventListener('click', () => runGuarded(null, () => this.#calls.stop()))
    if ('gpu' in navigator) return
    const provider = byId<HTMLSelectElement>('provider')
    provider.value = 'wasm'
    provider.disabled = true
    byId('no-webgpu').hidden = false
  }

  /** @param classes empty if there are no data */
  onData(classes: readonly string[]): void {
    this.#classes = classes
    this.#buttons()
  }

  onEvent(event: WorkerEvent): void {
    if (event.kind === 'features')
      showStatus(
        `${contenders[event.contender]}: running the frozen layers once, ${event.done} of ${event.total} examples.`,
      )
    else if (event.kind === 'step') {
      if (!this.#progress.begun) showStatus('Training.')
      this.#loss.add(event.contender, event.step, event.loss)
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
      const { description, fallback } = event
      byId('runtime').textContent = fallback
        ? `WebGPU is not to be had here: training runs on WebAssembly. (${description}; ${fallback})`
        : description
    }
  }

  /** Shows the settings of a stored training run. */
  show(settings: Settings): void {
    const { provider, layers = 'all', flatness, ...numbers } = settings
    byId<HTMLSelectElement>('provider').value = provider
    byId<HTMLSelectElement>('trained-layers').value = layers
    inputById('flatness').checked = flatness
    for (const [key, id] of Object.entries(numberFields))
      inputById(id).valueAsNumber = numbers[key as keyof typeof numbers]
  }

  /** Resumes the stored training run that was reopened. */
  async goOn(): Promise<void> {
    await this.#train(true)
  }

  async #train(resume = false): Promise<void> {
    const settings = this.#settings()
    for (const curves of [this.#loss, this.#accuracy, this.#sharpness]) curves.clear()
    this.#latest.clear()
    this.#progress = new Progress()
    byId('results').hidden = true
    this.#running = true
    this.#buttons()
    this.#tried.onStart(this.#classes)
    showStatus('Building and compiling the training graphs ...')
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
    await this.#calls.pause(this.#paused)
  }

  #onRound(event: RoundEvent): void {
    this.#accuracy.add(event.contender, event.step, event.heldAccuracy)
    if (event.sharpness !== null) this.#sharpness.add(event.contender, event.step, event.sharpness)
    this.#latest.set(event.contender, event)
    byId('results').hidden = false
    byId('results-body').replaceChildren(
      ...(Object.keys(contenders) as ContenderName[]).flatMap((contender) => {
        const round = this.#latest.get(contender)
        if (!round) return []
        const cells = [
          round.loss.toFixed(4),
          round.heldLoss.toFixed(4),
          `${(100 * round.heldAccuracy).toFixed(1)} %`,
          round.sharpness === null ? '' : round.sharpness.toPrecision(3),
        ]
        return [
          createElement(
            'tr',
            { id: `result-${contender}` },
            createElement('th', { scope: 'row' }, contenders[contender]),
            ...cells.map((cell) => createElement('td', {}, cell)),
          ),
        ]
      }),
    )
  }

  #settings(): Settings {
    return {
      provider: byId<HTMLSelectElement>('provider').value as Settings['provider'],
      layers: byId<HTMLSelectElement>('trained-layers').value as Settings['layers'],
      ...(Object.fromEntries(Object.entries(numberFields).map(([key, id]) => [key, readNumber(id)])) as Numbers),
      flatness: inputById('flatness').checked,
    }
  }

  #buttons(): void {
    const focused = document.activeElement
    if (!this.#running) this.#paused = false
    button('train').disabled = this.#running || this.#classes.length === 0
    for (const id of ['pause', 'stop']) button(id).disabled = !this.#running
    button('pause').textContent = this.#paused ? 'Go on' : 'Pause'
    for (const id of ['model-section', 'data-section', 'settings-section']) byId(id).inert = this.#running
    // A disabled button loses the focus, which moves to the enabled button.
    if (focused?.matches('#train:disabled')) button('pause').focus()
    else if (focused?.matches('#pause:disabled, #stop:disabled')) button('train').focus()
  }
}
