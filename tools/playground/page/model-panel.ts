import generalModel from '../models/general-image-model.onnx?url'
import { type Calls, type Form, type ModelSummary, type Normalization, normalizations } from '../protocol.js'
import { byId, createElement, createFileInput, inputById, readNumber } from './dom.js'
import { runGuarded, showStatus } from './status.js'

const generalName = 'General picture model'

/** The name of a model as people read it: that of its file, if it is not the model of the page. */
export const titleOf = (name: string): string => (isGeneral({ name }) ? generalName : name)

const listText = (classes: readonly string[]): string =>
  classes.length > 12 ? `${classes.slice(0, 12).join(', ')}, ...` : classes.join(', ')

/** The model: opening it, its layers, and the form of its input. */
export class ModelPanel {
  readonly #calls: Calls
  readonly #onModel: (summary: ModelSummary, isOpened: boolean) => void
  #summary: ModelSummary | undefined

  constructor(calls: Calls, onModel: (summary: ModelSummary, isOpened: boolean) => void) {
    this.#calls = calls
    this.#onModel = onModel
    const file = createFileInput('model-file')
    file.addEventListener('change', () => file.files?.[0] && this.#offer(file, file.files[0]))
    const button = byId<HTMLButtonElement>('bundled')
    button.addEventListener('click', () =>
      runGuarded(button, async () => {
        await this.openGeneral(96)
        showStatus(`${generalName} is open: now choose data.`)
      }),
    )
    this.#acceptDrops(byId('drop'))
    for (const [value, { title }] of Object.entries(normalizations))
      byId('normalization').append(createElement('option', { value, textContent: title }))
    for (const id of ['size', 'normalization'])
      byId(id).addEventListener('change', () => runGuarded(null, () => this.#reform()))
  }

  /** Opens the model of this page, which has learned ImageNet, for pictures of a side. */
  async openGeneral(size: number): Promise<void> {
    const summary = await this.#calls.open(new URL(generalModel, location.href).href)
    const form = { ...summary.form, size }
    await this.#calls.form(form)
    this.show({ ...summary, name: generalName, form })
  }

  /** Opens a model file. */
  async open(source: File): Promise<void> {
    showStatus('Reading the model ...')
    this.show(await this.#calls.open(source))
  }

  /** Shows a model that the worker has opened. */
  show(summary: ModelSummary): void {
    this.#summary = { ...summary, name: titleOf(summary.name) }
    this.#show(this.#summary)
    this.#onModel(this.#summary, true)
  }

  #acceptDrops(place: HTMLElement): void {
    // A file that misses the place would replace the page.
    for (const kind of ['dragover', 'drop'] as const) addEventListener(kind, (event) => event.preventDefault())
    const over = (event: DragEvent) => {
      event.preventDefault()
      place.classList.toggle('over', event.type === 'dragover')
    }
    place.addEventListener('dragover', over)
    place.addEventListener('dragleave', over)
    place.addEventListener('drop', (event) => {
      over(event)
      const file = event.dataTransfer?.files[0]
      if (file) this.#offer(null, file)
    })
  }

  #offer(control: HTMLInputElement | null, source: File): void {
    void runGuarded(control, async () => {
      await this.open(source)
      const { name, labels } = this.#summary!
      showStatus(
        labels
          ? `${name} is open, with the classes ${listText(labels)}: try it, or choose data.`
          : `${name} is open: now choose data.`,
      )
    })
  }

  async #reform(): Promise<void> {
    if (!this.#summary) return
    const normalization = byId<HTMLSelectElement>('normalization').value as Normalization
    const form: Form = { ...this.#summary.form, size: readNumber('size'), normalization }
    await this.#calls.form(form)
    this.#summary = { ...this.#summary, form }
    this.#onModel(this.#summary, false)
    showStatus('The input size has changed: choose the data again.')
  }

  #show({ name, bytes, inputs, outputs, parameters, trainable, layers, form, task, labels }: ModelSummary): void {
    byId('model-name').textContent = `${name}, ${parameters.toLocaleString('en')} parameters`
    const origin = 'the first 11 blocks of EfficientNet-Lite0, trained on ImageNet (Apache License 2.0)'
    const facts: readonly (readonly [string, string | null])[] = [
      ['file', `${name}, ${sizeText(bytes)}`],
      ['origin', name === generalName ? origin : null],
      ['task', task],
      ['classes', labels && listText(labels)],
      ['inputs', inputs.join(', ')],
      ['outputs', outputs.join(', ')],
      ['parameters', `${parameters.toLocaleString('en')}, of which ${trainable.toLocaleString('en')} can be trained`],
    ]
    byId('model-facts').replaceChildren(
      ...facts.flatMap(([term, fact]) =>
        fact === null ? [] : [createElement('dt', {}, term), createElement('dd', {}, fact)],
      ),
    )
    byId('layers').replaceChildren(
      ...layers.map((layer) =>
        createElement(
          'tr',
          {},
          createElement('td', {}, layer.name),
          createElement('td', {}, layer.operators),
          createElement('td', {}, layer.shape),
          createElement('td', {}, layer.parameters.toLocaleString('en')),
          createElement('td', {}, layer.trainable ? 'yes' : 'no'),
        ),
      ),
    )
    byId('image-form').hidden = form.kind !== 'image'
    const size = inputById('size')
    size.valueAsNumber = form.size
    size.disabled = !form.open
    byId<HTMLSelectElement>('normalization').value = form.normalization
  }
}

/** Whether a model is that of the page. */
export const isGeneral = ({ name }: Pick<ModelSummary, 'name'>): boolean =>
  name === generalName || /^general-image-model\b.*\.onnx$/.test(name)

const sizeText = (bytes: number): string =>
  bytes < 2 ** 19 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`
