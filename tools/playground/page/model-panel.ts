import { type Calls, type Form, type ModelSummary, type Normalization, normalizations } from '../protocol.js'
import { byId, createElement, createFileInput, inputById, readNumber } from './dom.js'
import { runGuarded, showStatus } from './status.js'

const bundledName = "PaddleOCR's text-direction classifier"

/** The first section: the model and its layers. */
export class ModelPanel {
  readonly #calls: Calls
  readonly #onModel: (summary: ModelSummary, opened: boolean) => void
  #summary: ModelSummary | undefined

  constructor(calls: Calls, bundled: string, onModel: (summary: ModelSummary, opened: boolean) => void) {
    this.#calls = calls
    this.#onModel = onModel
    const file = createFileInput('model-file')
    file.addEventListener('change', () => file.files?.[0] && this.#open(file, file.files[0]))
    const button = byId<HTMLButtonElement>('bundled')
    button.addEventListener('click', () => this.#open(button, new URL(bundled, location.href).href, 'bundled'))
    this.#acceptDrops(byId('drop'))
    for (const [value, { title }] of Object.entries(normalizations))
      byId('normalisation').append(createElement('option', { value, textContent: title }))
    for (const id of ['size', 'normalisation'])
      byId(id).addEventListener('change', () => runGuarded(null, () => this.#reform()))
  }

  #acceptDrops(place: HTMLElement): void {
    const over = (event: DragEvent) => {
      event.preventDefault()
      place.classList.toggle('over', event.type === 'dragover')
    }
    place.addEventListener('dragover', over)
    place.addEventListener('dragleave', over)
    place.addEventListener('drop', (event) => {
      over(event)
      const file = event.dataTransfer?.files[0]
      if (file) this.#open(null, file)
    })
  }

  #open(control: HTMLButtonElement | HTMLInputElement | null, source: File | string, kind?: 'bundled'): void {
    runGuarded(control, async () => {
      showStatus('Reading the model ...')
      let summary = await this.#calls.open(source)
      // The preprocessing of the bundled model is known, but not in its file.
      if (kind === 'bundled') {
        summary = { ...summary, name: bundledName, form: { ...summary.form, size: 48, normalisation: 'signed' } }
        await this.#calls.form(summary.form)
      }
      this.show(summary)
      showStatus(`${summary.name} is open: now choose data.`)
    })
  }

  /** Shows a model that the worker has opened. */
  show(summary: ModelSummary): void {
    this.#summary = summary
    this.#show(summary)
    this.#onModel(summary, true)
  }

  async #reform(): Promise<void> {
    if (!this.#summary) return
    const normalisation = byId<HTMLSelectElement>('normalisation').value as Normalization
    const form: Form = { ...this.#summary.form, size: readNumber('size'), normalisation }
    await this.#calls.form(form)
    this.#summary = { ...this.#summary, form }
    this.#onModel(this.#summary, false)
    showStatus('The input size has changed: choose the data again.')
  }

  #show({ name, bytes, inputs, outputs, parameters, trainable, layers, form }: ModelSummary): void {
    const facts: readonly (readonly [string, string])[] = [
      ['file', `${name}, ${sizeText(bytes)}`],
      ['inputs', inputs.join(', ')],
      ['outputs', outputs.join(', ')],
      ['parameters', `${parameters.toLocaleString('en')}, of which ${trainable.toLocaleString('en')} can be trained`],
    ]
    byId('model-facts').replaceChildren(
      ...facts.flatMap(([term, fact]) => [createElement('dt', {}, term), createElement('dd', {}, fact)]),
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
    byId<HTMLSelectElement>('normalisation').value = form.normalisation
    byId('model-summary').hidden = false
  }
}

const sizeText = (bytes: number): string =>
  bytes < 2 ** 19 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`
