import { readPicture } from '../picture.js'
import {
  type Calls,
  type ContenderName,
  contenders,
  type DataSummary,
  type Looker,
  type ModelSummary,
} from '../protocol.js'
import type { Camera } from './camera.js'
import { byId, createElement, createFileInput } from './dom.js'
import { download } from './download.js'
import { Pad } from './pad.js'
import { runGuarded, showStatus } from './status.js'

/** Milliseconds between two predictions during training, and between two pictures of the webcam. */
const pace = { training: 500, camera: 120 } as const

/** Number of classes up to which all are shown, in their order; of more the most likely ones are. */
const shownClasses = 10

const names = Object.keys(contenders) as ContenderName[]
const lookers: readonly Looker[] = [...names, 'untrained']

type Mode = 'draw' | 'camera' | 'photo' | 'row'

/** The third step: predictions of the models for a drawing, the webcam, a photo or a row; and the models as files. */
export class TryPanel {
  readonly #calls: Calls
  readonly #camera: Camera
  readonly #onCamera: () => void
  #classes: readonly string[] = []
  #form: ModelSummary['form'] | undefined
  #mode: Mode = 'draw'
  #isTrained = false
  /** Whether the model that was opened has names for its classes, and so was trained before. */
  #isLabeled = false
  readonly #pad: Pad
  #photo: ImageData | undefined
  #columns: NonNullable<DataSummary['columns']> = []
  /** The look in progress, which ends with an answer for the latest input. */
  #looking: Promise<void> | undefined
  #again = false
  #lookedAt = 0

  readonly #onDownload: () => void

  constructor(calls: Calls, camera: Camera, onCamera: () => void, onDownload: () => void) {
    this.#calls = calls
    this.#camera = camera
    this.#onCamera = onCamera
    this.#onDownload = onDownload
    this.#pad = new Pad(byId<HTMLCanvasElement>('try-pad'), () => void this.#look())
    byId('clear-try').addEventListener('click', () => this.#pad.clear())
    for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=try]'))
      radio.addEventListener('change', () => runGuarded(null, () => this.choose(radio.value as Mode)))
    const photo = createFileInput('try-photo')
    photo.addEventListener('change', () => runGuarded(photo, () => this.#open(photo.files?.[0])))
    const place = byId('try-section')
    place.addEventListener('drop', (event) => {
      event.preventDefault()
      const file = event.dataTransfer?.files[0]
      if (!file || this.#form?.kind !== 'image') return
      void runGuarded(null, async () => {
        await this.choose('photo')
        await this.#open(file)
      })
    })
    byId('try-row').addEventListener('input', () => void this.#look())
    for (const contender of names) {
      const button = byId<HTMLButtonElement>(`download-${contender}`)
      button.addEventListener('click', () => runGuarded(button, () => this.#download(contender)))
    }
    this.#film()
  }

  /** Clears the section: earlier models are discarded. */
  onModel({ form, labels }: Pick<ModelSummary, 'form' | 'labels'>): void {
    this.#form = form
    this.#classes = labels ?? []
    this.#isLabeled = labels !== null
    this.#photo = undefined
    if (this.#pad.isExample) this.#pad.clear()
    this.#offer(false)
    this.#invite()
    byId('try-choices').hidden = form.kind !== 'image'
    void this.choose(form.kind === 'table' ? 'row' : this.#mode === 'row' ? 'draw' : this.#mode)
  }

  /** Takes the classes and columns of the data to be trained on. */
  onData(classes: readonly string[], columns: NonNullable<DataSummary['columns']>): void {
    if (this.#isTrained) return
    if (classes.length > 0) this.#classes = classes
    if (columns.length > 0) this.#showColumns(columns)
    void this.#look()
  }

  /** Prepares the section for a new training run with these classes. */
  onStart(classes: readonly string[]): void {
    // The answer of the untrained model stays until the others have one.
    const stays = !this.#isTrained && String(classes) === String(this.#classes)
    this.#classes = classes
    this.#offer(false)
    if (!stays) this.#invite()
  }

  /** Updates the predictions after a change of weights. */
  onWeights(isLast = false): void {
    this.#offer(true)
    if (isLast || performance.now() - this.#lookedAt > pace.training) void this.#look()
  }

  /** Selects what is tried. */
  async choose(mode: Mode): Promise<void> {
    this.#mode = mode
    for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=try]'))
      radio.checked = radio.value === mode
    for (const part of document.querySelectorAll<HTMLElement>('[data-try]')) part.hidden = part.dataset['try'] !== mode
    if (mode === 'camera' && !this.#camera.on) {
      await this.#camera.start()
      this.#onCamera()
    }
    void this.#look()
  }

  /** Draws an example on the pad; resolves with the answer for it shown. */
  async showDrawing(pixels: ImageData): Promise<void> {
    this.#pad.showExample(pixels)
    await this.#look()
  }

  #offer(there: boolean): void {
    this.#isTrained = there
    byId('take-away-section').hidden = !there
    for (const name of names) byId<HTMLButtonElement>(`download-${name}`).disabled = !there
  }

  async #open(file: File | undefined): Promise<void> {
    if (!file) return
    try {
      this.#photo = await readPicture(file)
    } catch {
      throw new Error(`${file.name} could not be read as a picture.`)
    }
    const canvas = byId<HTMLCanvasElement>('try-picture')
    canvas.hidden = false
    canvas.getContext('2d')!.putImageData(this.#photo, 0, 0)
    void this.#look()
  }

  /** Shows a slider for each column of a table. */
  #showColumns(columns: NonNullable<DataSummary['columns']>): void {
    if (JSON.stringify(columns) === JSON.stringify(this.#columns)) return
    this.#columns = columns
    byId('try-row').replaceChildren(
      ...columns.map(({ name, min, max, first }) => {
        const step = (max - min) / 200 || 1
        const field = createElement('input', { type: 'range' })
        Object.assign(field, { min: String(min), max: String(max), step: String(step), value: String(first) })
        const value = createElement('output', {}, field.valueAsNumber.toPrecision(4))
        field.addEventListener('input', () => {
          value.textContent = field.valueAsNumber.toPrecision(4)
        })
        return createElement('label', {}, `${name}: `, value, field)
      }),
    )
  }

  /** The image or the row that the models predict; null if there is none. */
  get #input(): ImageData | readonly number[] | null {
    if (this.#form?.kind === 'table') {
      const fields = document.querySelectorAll<HTMLInputElement>('#try-row input')
      return fields.length > 0 ? Array.from(fields, (field) => field.valueAsNumber) : null
    }
    if (this.#mode === 'camera') return this.#camera.on ? this.#camera.pixels : null
    if (this.#mode === 'photo') return this.#photo ?? null
    return this.#pad.empty ? null : this.#pad.pixels
  }

  /** Looks at the webcam again and again. */
  #film(): void {
    setTimeout(async () => {
      if (this.#mode === 'camera' && this.#camera.on && document.visibilityState === 'visible') await this.#look()
      this.#film()
    }, pace.camera)
  }

  /** Shows the answer for the current input; resolves when it is shown. */
  #look(): Promise<void> {
    this.#again = true
    this.#looking ??= this.#lookAgain()
    return this.#looking
  }

  async #lookAgain(): Promise<void> {
    // Several changes at once are one look. The constructor of the pad reports one before the field is set.
    await Promise.resolve()
    try {
      while (this.#again) {
        this.#again = false
        this.#lookedAt = performance.now()
        byId('try-example').hidden = !this.#pad.isExample
        const input = this.#input
        if (!input || this.#classes.length === 0) this.#invite()
        else this.#show(await this.#calls.look(input, this.#classes.length))
      }
    } catch (error) {
      showStatus((error as Error).message, 'error')
    } finally {
      this.#looking = undefined
    }
  }

  #show(seen: Partial<Record<Looker, readonly number[]>>): void {
    const found = lookers.filter((looker) => seen[looker])
    // While training is prepared there is no answer; the last one stays.
    if (found.length === 0) return
    const titles = { ...contenders, untrained: this.#isLabeled ? 'The opened model' : 'Not trained yet' }
    byId('seen').replaceChildren(
      ...found.map((looker) => {
        const shares = seen[looker]!
        let rows = shares.map((share, i) => ({ share, name: this.#classes[i] ?? String(i) }))
        if (rows.length > shownClasses) rows = rows.sort((a, b) => b.share - a.share).slice(0, 5)
        const best = Math.max(...shares)
        const list = createElement(
          'div',
          { className: 'seen' },
          ...rows.flatMap(({ share, name }) => [
            createElement(share === best ? 'b' : 'span', {}, name),
            createElement('meter', { value: share, max: 1, ariaLabel: name }),
            createElement('span', {}, `${(100 * share).toFixed(0)} %`),
          ]),
        )
        const title = createElement('h3', {}, titles[looker])
        title.dataset['contender'] = looker
        return createElement('div', { id: `seen-${looker}` }, title, list)
      }),
    )
  }

  #invite(): void {
    const texts: Readonly<Record<Mode, string>> = {
      draw: 'Draw here: the answers appear below, also while the models train.',
      camera: 'The answers for what the webcam shows appear below, also while the models train.',
      photo: 'Choose a photo: the answers appear below.',
      row: 'Read a table first; then move the sliders.',
    }
    // Without classes no answer has a name.
    const isNamed = this.#classes.length > 0 || this.#mode === 'row'
    const text = isNamed ? texts[this.#mode] : 'Give at least two classes some examples first.'
    byId('seen').replaceChildren(createElement('p', { className: 'quiet' }, text))
  }

  async #download(contender: ContenderName): Promise<void> {
    download(contender === 'ire' ? 'tuned-ire.onnx' : 'tuned.onnx', await this.#calls.exported(contender))
    this.#onDownload()
    const parts =
      this.#form?.kind === 'image' ? 'the names of the classes and how to read pictures' : 'the names of the classes'
    showStatus(`The tuned model is among your downloads. Its file contains ${parts}.`)
  }
}
