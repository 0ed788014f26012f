import type { Calls, DataChoice, DataSummary, ModelSummary, TableChoice, TablePreview } from '../protocol.js'
import type { Camera } from './camera.js'
import { type CardMode, ClassCards, skippedText } from './class-cards.js'
import { learnedColumns, showPictures, showTable } from './data-preview.js'
import { byId, createElement, createFileInput, inputById } from './dom.js'
import { Pad } from './pad.js'
import { runGuarded, showStatus } from './status.js'

/** Sources of examples that fill the class cards; the others are files. */
const cardSources: readonly string[] = ['camera', 'draw', 'photos'] satisfies CardMode[]

/** Number of classes of a model up to which each gets a card. */
const mostCards = 20

/** The data of a training run before they are read: the classes and the number of examples of each. */
export interface DataOutline {
  readonly classes: readonly string[]
  readonly counts: readonly number[]
  /** Whether the names were chosen by a person, and do not just number the outputs of a model. */
  readonly isNamed: boolean
  /** The columns of a table. */
  readonly columns: NonNullable<DataSummary['columns']>
}

/** The first step: the examples. */
export class DataPanel {
  readonly #calls: Calls
  readonly #camera: Camera
  readonly #onData: () => void
  /** Creates and opens a model for a table, if the open one does not take tables. */
  readonly #onTable: (choice: TableChoice) => Promise<void>
  readonly #pad = new Pad(byId<HTMLCanvasElement>('pad'), () => {})
  readonly #cards: ClassCards
  #source = 'draw'
  /** The data that the worker has; undefined if there are none, or if the cards have changed since. */
  #summary: DataSummary | undefined
  /** The data that the worker reads; undefined if other data, or another model, were chosen meanwhile. */
  #reading: DataChoice | undefined
  #model: ModelSummary | undefined
  /** The CSV file that was chosen last, if it could be read. */
  #table: { readonly file: File; readonly preview: TablePreview } | undefined

  constructor(calls: Calls, camera: Camera, onData: () => void, onTable: (choice: TableChoice) => Promise<void>) {
    this.#calls = calls
    this.#camera = camera
    this.#onData = onData
    this.#onTable = onTable
    this.#cards = new ClassCards(
      (mode) => this.#picture(mode),
      () => this.#onCards(),
    )
    for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=source]'))
      radio.addEventListener('change', () => this.choose(radio.value))
    this.#files()
    this.#button('clear-pad', async () => this.#pad.clear())
    this.#pad.canvas.addEventListener('keydown', ({ key }) => {
      if (key >= '1' && key <= '9') void runGuarded(null, async () => this.#cards.takeDrawing(Number(key) - 1))
    })
    this.#button('camera-on', async () => {
      if (this.#camera.on) this.#camera.stop()
      else await this.#camera.start()
      await this.onCamera()
    })
    this.#button('camera-turn', () => this.#camera.turn())
  }

  /** The data to train on; null if they have fewer than two classes. */
  get outline(): DataOutline | null {
    const { classes, counts } = this.#summary ?? this.#cards
    if (!this.#summary && !cardSources.includes(this.#source)) return null
    if (classes.length < 2) return null
    return { classes, counts, isNamed: this.#source !== 'idx', columns: this.#summary?.columns ?? [] }
  }

  get cards(): ClassCards {
    return this.#cards
  }

  onModel(summary: ModelSummary): void {
    const { labels, form } = summary
    const { kind } = form
    this.#model = summary
    if (kind === 'image' && labels && labels.length <= mostCards && this.#cards.classes.length === 0)
      this.#cards.reset(labels)
    for (const label of document.querySelectorAll<HTMLElement>('#data-section [data-kind]'))
      label.hidden = label.dataset['kind'] !== kind
    if ((kind === 'table') !== (this.#source === 'csv')) this.choose(kind === 'table' ? 'csv' : 'draw')
    this.#forget()
  }

  /** Selects the source of examples. */
  choose(source: string): void {
    const before = this.#source
    this.#source = source
    for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=source]'))
      radio.checked = radio.value === source
    for (const part of document.querySelectorAll<HTMLElement>('[data-source]'))
      part.hidden = part.dataset['source'] !== source
    byId('sources').hidden = source === 'csv'
    const isCards = cardSources.includes(source)
    byId('cards-part').hidden = !isCards
    if (isCards) this.#cards.mode = source as CardMode
    // The camera runs only while its image is visible.
    if (before === 'camera' && source !== 'camera') {
      this.#camera.stop()
      void this.onCamera()
    }
    // The cards keep what they have; the data of a file are not those of another source.
    if (source !== before && !(isCards && cardSources.includes(before))) this.#forget()
  }

  /** Shows whether the camera runs. */
  async onCamera(): Promise<void> {
    byId('camera-on').textContent = this.#camera.on ? 'Stop the webcam' : 'Start the webcam'
    byId('camera-turn').hidden = !(this.#camera.on && (await this.#camera.hasSeveral()))
  }

  /** Reads the examples of the cards, if they have changed. Throws if the data are not complete. */
  async prepare(): Promise<DataSummary> {
    // Cards that change while they are read are read again.
    while (!this.#summary) {
      this.#cards.check()
      const { classes, examples } = this.#cards
      await this.use({ kind: 'shown', classes, examples })
    }
    return this.#summary
  }

  /** Reads data, and shows them unless others are chosen meanwhile. */
  async use(choice: DataChoice): Promise<void> {
    if (!this.#model) throw new Error('Open a model first: it determines the form of the data.')
    this.#forget()
    this.#reading = choice
    showStatus('Reading the data ...')
    const summary = await this.#calls.data(choice).catch((error) => {
      if (this.#reading === choice) throw error
    })
    if (!summary || this.#reading !== choice) return
    this.show(summary)
    const omitted = omittedText(summary)
    showStatus(`Ready to train.${omitted}`, omitted ? 'warning' : 'info')
  }

  /** Shows data that the worker has read. */
  show(summary: DataSummary): void {
    this.#summary = summary
    const counts = summary.classes.map((name, i) => `${name} (${summary.counts[i]})`)
    const shown = counts.length > 12 ? [...counts.slice(0, 12), `and ${counts.length - 12} more`] : counts
    byId('data-summary').textContent =
      `${summary.examples} examples of ${summary.classes.length} classes: ${shown.join(', ')}.${omittedText(summary)}`
    showPictures(summary)
    this.#onData()
  }

  #picture(mode: CardMode): ImageData {
    if (mode === 'camera') {
      if (!this.#camera.on) throw new Error('Start the webcam first.')
      return this.#camera.pixels
    }
    if (this.#pad.empty) throw new Error('Draw something first.')
    const { pixels } = this.#pad
    this.#pad.clear()
    return pixels
  }

  #files(): void {
    const folder = createFileInput('folder')
    folder.addEventListener('change', () =>
      runGuarded(folder, () =>
        this.use({
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
    csv.addEventListener('change', () => runGuarded(csv, () => this.previewTable(chosen('csv'))))
    const label = byId<HTMLSelectElement>('csv-label')
    label.addEventListener('change', () => this.#showTable())
    this.#button('use-csv', () => this.useTable())
    this.#button('use-idx', () => this.use({ kind: 'idx', images: chosen('idx-images'), labels: chosen('idx-labels') }))
  }

  /** Shows the first rows of a CSV file, and its columns to choose that of the class from: the last one, or `label`. */
  async previewTable(file: File, label?: string): Promise<void> {
    const select = byId<HTMLSelectElement>('csv-label')
    const use = byId<HTMLButtonElement>('use-csv')
    this.closeTable()
    showStatus('Reading the table ...')
    const preview = await this.#calls.previewTable(file)
    this.#table = { file, preview }
    const names = preview.columns.map(({ name }) => name)
    select.replaceChildren(...names.map((value) => createElement('option', { value, textContent: value })))
    select.value = label ?? names.at(-1)!
    this.#showTable()
    use.disabled = byId('csv-column').hidden = false
    showStatus('Choose the column that holds the class.')
  }

  /** Hides the table that was chosen last. */
  closeTable(): void {
    byId<HTMLButtonElement>('use-csv').disabled = byId('csv-column').hidden = true
    this.#table = undefined
  }

  /** Reads the table that is shown, with a model made for it if none is open. */
  async useTable(): Promise<void> {
    if (!this.#table) throw new Error('Choose a CSV file first.')
    const { file, preview } = this.#table
    const label = byId<HTMLSelectElement>('csv-label').value
    const columns = learnedColumns(preview, label)
    if (columns.length === 0) throw new Error(`${file.name} has no column of numbers beside '${label}' to learn from.`)
    const choice = { kind: 'csv', file, label, columns } as const
    await this.#onTable(choice)
    await this.use(choice)
  }

  #showTable(): void {
    if (this.#table) showTable(this.#table.preview, byId<HTMLSelectElement>('csv-label').value)
  }

  #onCards(): void {
    this.#forget()
  }

  #forget(): void {
    this.#summary = this.#reading = undefined
    byId('data-summary').textContent = ''
    showPictures(null)
    this.#onData()
  }

  #button(id: string, work: () => Promise<void>): void {
    const button = byId<HTMLButtonElement>(id)
    button.addEventListener('click', () => runGuarded(button, work))
  }
}

/** A sentence about what is not learned from, of the files that were read; empty if all is. */
function omittedText({ skipped, incomplete = 0 }: DataSummary): string {
  if (incomplete === 0) return skippedText(skipped)
  return ` ${incomplete} ${incomplete === 1 ? 'row is' : 'rows are'} left out, because values are missing.`
}

function chosen(id: string): File {
  const field = inputById(id)
  const file = field.files?.[0]
  if (!file) throw new Error(`Choose a file: ${field.labels?.[0]?.textContent?.trim() ?? id}.`)
  return file
}
