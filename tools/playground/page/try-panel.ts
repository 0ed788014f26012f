import { type Calls, type ContenderName, contenders, type ModelSummary } from '../protocol.js'
import { byId, createElement } from './dom.js'
import { download } from './download.js'
import { Pad } from './pad.js'
import { runGuarded, showStatus } from './status.js'

/** Milliseconds between two predictions for the canvas during training. */
const pace = 700

const names = Object.keys(contenders) as ContenderName[]

/** The last section: predictions of the models for a drawing, and the models as files. */
export class TryPanel {
  readonly #calls: Calls
  #classes: readonly string[] = []
  readonly #pad: Pad
  #looking = false
  #again = false
  #lookedAt = 0

  readonly #onDownload: () => void

  constructor(calls: Calls, onDownload: () => void) {
    this.#calls = calls
    this.#onDownload = onDownload
    this.#pad = new Pad(byId<HTMLCanvasElement>('try-pad'), () => this.#look())
    byId('clear-try').addEventListener('click', () => this.#pad.clear())
    for (const contender of names) {
      const button = byId<HTMLButtonElement>(`download-${contender}`)
      button.addEventListener('click', () => runGuarded(button, () => this.#download(contender)))
    }
  }

  /** Clears the section: earlier models are discarded. */
  onModel({ form }: Pick<ModelSummary, 'form'>): void {
    this.#offer(false)
    byId('trying').hidden = form.kind !== 'image'
  }

  /** Prepares the section for a new training run with these classes. */
  onStart(classes: readonly string[]): void {
    this.#classes = classes
    this.#offer(false)
  }

  /** Updates the predictions after a change of weights. */
  onWeights(last = false): void {
    this.#offer(true)
    if (last || performance.now() - this.#lookedAt > pace) this.#look()
  }

  #offer(there: boolean): void {
    if (!there) invite()
    for (const name of names) byId<HTMLButtonElement>(`download-${name}`).disabled = !there
  }

  async #look(): Promise<void> {
    // The constructor of the pad clears it before the field is set.
    if (!this.#pad || this.#pad.empty) return invite()
    if (this.#looking) {
      this.#again = true
      return
    }
    this.#looking = true
    try {
      do {
        this.#again = false
        this.#lookedAt = performance.now()
        this.#show(await this.#calls.look(this.#pad.pixels))
      } while (this.#again)
    } catch (error) {
      showStatus((error as Error).message, 'error')
    } finally {
      this.#looking = false
    }
  }

  #show(seen: Partial<Record<ContenderName, readonly number[]>>): void {
    byId('seen').replaceChildren(
      ...names.flatMap((contender) => {
        const shares = seen[contender]
        if (!shares) return []
        const best = shares.map((share, i) => ({ share, name: this.#classes[i] ?? String(i) }))
        best.sort((a, b) => b.share - a.share)
        const rows = best
          .slice(0, 3)
          .flatMap(({ share, name }) => [
            createElement('span', {}, name),
            createElement('meter', { value: share, max: 1, ariaLabel: name }),
            createElement('span', {}, `${(100 * share).toFixed(0)} %`),
          ])
        const list = createElement('div', { className: 'seen' }, ...rows)
        return createElement('div', { id: `seen-${contender}` }, createElement('h3', {}, contenders[contender]), list)
      }),
    )
  }

  async #download(contender: ContenderName): Promise<void> {
    download(contender === 'ire' ? 'tuned-ire.onnx' : 'tuned.onnx', await this.#calls.exported(contender))
    this.#onDownload()
    showStatus('The tuned model is among your downloads.')
  }
}

function invite(): void {
  const text = 'Draw here while the models train: they say what they see. By keyboard as in section 2.'
  byId('seen').replaceChildren(createElement('p', {}, text))
}
