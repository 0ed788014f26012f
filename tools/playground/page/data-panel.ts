import type { Calls, DataChoice, DataSummary, ModelSummary, ShownExample } from '../protocol.js'
import { Camera } from './camera.js'
import { byId, createElement, createFileInput, inputById } from './dom.js'
import { Pad } from './pad.js'
import { runGuarded, showStatus } from './status.js'

/** The second section: the data. */
export class DataPanel {
  readonly #calls: Calls
  readonly #onData: () => void
  readonly #shown: ShownExample[] = []
  readonly #camera = new Camera(byId<HTMLVideoElement>('video'))
  #summary: DataSummary | undefined
  #model: ModelSummary | undefined

  constructor(calls: Calls, onData: () => void) {
    this.#calls = calls
    this.#onData = onData
    for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=source]'))
      radio.addEventListener('change', () => this.#choose(radio.value))
    this.#files()
    this.#drawing()
    this.#filming()
    this.#button('use-shown', () => {
      const classes = [...new Set(this.#shown.map(({ label }) => label))].sort()
      return this.#use({ kind: 'shown', classes, examples: this.#shown })
    })
    this.#button('forget-shown', async () => {
      this.#shown.length = 0
      this.#list()
    })
  }

  get classes(): readonly string[] {
    return this.#summary?.classes ?? []
  }

  onModel(summary: ModelSummary): void {
    const { kind } = summary.form
    if (kind !== this.#model?.form.kind) this.#check(kind === 'table' ? 'csv' : 'folder')
    this.#model = summary
    this.#forget()
  }

  #files(): void {
    const folder = createFileInput('folder')
    folder.addEventListener('change', () =>
      runGuarded(folder, () =>
        this.#use({
          kind: 'folder',
          // Cloning a File to the worker loses its path.
          files: [...(folder.files ?? [])].map((file) => ({
            path: file.webkitRelativePath.split('/').slice(1).join('/'),
            file,
          })),
        }),
      ),
    )
    const csv = createFileInput('csv')
    const label = byId<HTMLSelectElement>('csv-label')
    csv.addEventListener('change', () =>
      runGuarded(csv, async () => {
        showStatus('Reading the table ...')
        const columns = await this.#calls.columns(chosen('csv'))
        label.replaceChildren(...columns.map((value) => createElement('option', { value, textContent: value })))
        label.value = columns.at(-1)!
        showStatus('Choose the column that holds the class.')
      }),
    )
    this.#button('use-csv', () => this.#use({ kind: 'csv', file: chosen('csv'), label: label.value }))
    this.#button('use-idx', () =>
      this.#use({ kind: 'idx', images: chosen('idx-images'), labels: chosen('idx-labels') }),
    )
  }

  #drawing(): void {
    const pad = new Pad(byId<HTMLCanvasElement>('pad'), () => {})
    this.#button('clear-pad', async () => pad.clear())
    this.#button('add-drawn', async () => {
      if (pad.empty) throw new Error('Draw something first.')
      this.#add(pad.pixels, inputById('draw-label'))
      pad.clear()
    })
  }

  #filming(): void {
    this.#button('camera-on', async () => {
      if (this.#camera.on) this.#camera.stop()
      else await this.#camera.start()
      this.#onCamera()
    })
    byId('add-filmed').addEventListener('click', () =>
      runGuarded(null, async () => this.#add(this.#camera.pixels, inputById('camera-label'))),
    )
  }

  #onCamera(): void {
    byId('camera-on').textContent = this.#camera.on ? 'Stop the webcam' : 'Start the webcam'
    byId<HTMLButtonElement>('add-filmed').disabled = !this.#camera.on
  }

  #add(pixels: ImageData, field: HTMLInputElement): void {
    const label = field.value.trim()
    if (!label) throw new Error('Say which class it is.')
    this.#shown.push({ pixels, label })
    this.#list()
    showStatus(`${this.#shown.length} examples shown.`)
  }

  #list(): void {
    const counts = new Map<string, number>()
    for (const { label } of this.#shown) counts.set(label, (counts.get(label) ?? 0) + 1)
    byId('shown').hidden = this.#shown.length === 0
    byId('shown-list').replaceChildren(
      ...[...counts].map(([label, count]) => createElement('li', {}, `${label}: ${count}`)),
    )
  }

  async #use(choice: DataChoice): Promise<void> {
    if (!this.#model) throw new Error('Open a model first: it determines the form of the data.')
    this.#forget()
    showStatus('Reading the data ...')
    this.show(await this.#calls.data(choice))
    showStatus('Ready to train.')
  }

  /** Shows data that the worker has read. */
  show(summary: DataSummary): void {
    this.#summary = summary
    const counts = summary.classes.map((name, i) => `${name} (${summary.counts[i]})`)
    const shown = counts.length > 12 ? [...counts.slice(0, 12), `and ${counts.length - 12} more`] : counts
    const head =
      summary.classes.length === this.#model?.classes
        ? ` The last layer stays: its outputs are taken to be these classes, in this order.`
        : ` The last layer is replaced by one of ${summary.classes.length} classes.`
    byId('data-summary').textContent =
      `${summary.examples} examples of ${summary.classes.length} classes: ${shown.join(', ')}.${head}`
    this.#onData()
  }

  #forget(): void {
    this.#summary = undefined
    byId('data-summary').textContent = ''
    this.#onData()
  }

  #check(source: string): void {
    for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=source]'))
      radio.checked = radio.value === source
    this.#choose(source)
  }

  #choose(source: string): void {
    for (const part of document.querySelectorAll<HTMLElement>('[data-source]'))
      part.hidden = part.dataset['source'] !== source
    // The camera runs only while its image is visible.
    if (source !== 'camera' && this.#camera.on) {
      this.#camera.stop()
      this.#onCamera()
    }
  }

  #button(id: string, work: () => Promise<void>): void {
    const button = byId<HTMLButtonElement>(id)
    button.addEventListener('click', () => runGuarded(button, work))
  }
}

function chosen(id: string): File {
  const field = inputById(id)
  const file = field.files?.[0]
  if (!file) throw new Error(`Choose a file: ${field.labels?.[0]?.textContent?.trim() ?? id}.`)
  return file
}
