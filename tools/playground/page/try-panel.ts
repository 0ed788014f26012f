import { type Calls, type Contender, contenders } from '../protocol.js'
import { byId, element } from './dom.js'
import { Pad } from './pad.js'
import { guarded, say } from './status.js'

/** How often the models look at the canvas while they train, milliseconds. */
const pace = 700

/** The last section: the models at work on what is drawn, and as files. */
export class TryPanel {
  readonly #calls: Calls
  readonly #classes: () => readonly string[]
  readonly #pad: Pad
  #looking = false
  #again = false
  #lookedAt = 0

  constructor(calls: Calls, classes: () => readonly string[]) {
    this.#calls = calls
    this.#classes = classes
    this.#pad = new Pad(byId<HTMLCanvasElement>('try-pad'), () => this.#look())
    byId('clear-try').addEventListener('click', () => this.#pad.clear())
    for (const contender of Object.keys(contenders) as Contender[]) {
      const button = byId<HTMLButtonElement>(`download-${contender}`)
      button.addEventListener('click', () => guarded(button, () => this.#download(contender)))
    }
  }

  /** The weights have changed. */
  onWeights(): void {
    if (performance.now() - this.#lookedAt > pace) this.#look()
    this.onTrained(false)
  }

  onTrained(look = true): void {
    for (const contender of Object.keys(contenders)) byId<HTMLButtonElement>(`download-${contender}`).disabled = false
    if (look) this.#look()
  }

  async #look(): Promise<void> {
    // The constructor of the pad clears it before there is one.
    if (!this.#pad || this.#pad.empty) return byId('seen').replaceChildren()
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
      say((error as Error).message, 'error')
    } finally {
      this.#looking = false
    }
  }

  #show(seen: Partial<Record<Contender, readonly number[]>>): void {
    const classes = this.#classes()
    byId('seen').replaceChildren(
      ...Object.entries(seen).map(([contender, shares]) => {
        const best = shares.map((share, i) => ({ share, name: classes[i] ?? String(i) }))
        best.sort((a, b) => b.share - a.share)
        return element(
          'p',
          {},
          `${contenders[contender as Contender]}: `,
          ...best
            .slice(0, 3)
            .map(({ share, name }) =>
              element(
                'span',
                { className: 'seen' },
                `${name} ${(100 * share).toFixed(0)} % `,
                element('meter', { value: share, max: 1, title: name }),
                ' ',
              ),
            ),
        )
      }),
    )
  }

  async #download(contender: Contender): Promise<void> {
    const bytes = await this.#calls.exported(contender)
    const href = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>], { type: 'application/octet-stream' }))
    element('a', { href, download: contender === 'ire' ? 'tuned-ire.onnx' : 'tuned.onnx' }).click()
    setTimeout(() => URL.revokeObjectURL(href), 60_000)
    say('The tuned model is among your downloads.')
  }
}
