import { type Calls, type ContenderName, contenders, type TakeAway, takeAways } from '../protocol.js'
import { drawCard } from './card.js'
import { byId, createElement } from './dom.js'
import { download } from './download.js'
import { runGuarded, showStatus } from './status.js'

const names = Object.keys(contenders) as ContenderName[]
/** Forms of a run that are shown as text. */
const texts = (Object.keys(takeAways) as TakeAway[]).filter((what) => what !== 'project' && what !== 'demo')

/** Things to take away from a run beside its models: code, its project, a picture of its curves. */
export class TakeAwayPanel {
  readonly #calls: Calls
  readonly #onDownload: () => void
  readonly #contender = select('take-contender', names, contenders)
  readonly #text = select('take-text', texts, takeAways)
  readonly #code = createElement('code')
  readonly #shown = createElement('pre', { id: 'take-code', tabIndex: 0, ariaLabel: 'Code' }, this.#code)
  readonly #place = byId<HTMLElement>('take-away')

  constructor(calls: Calls, onDownload: () => void) {
    this.#calls = calls
    this.#onDownload = onDownload
    this.#contender.value = 'ire'
    this.#shown.setAttribute('role', 'region')
    const row = (...children: readonly HTMLElement[]) => createElement('div', { className: 'actions' }, ...children)
    this.#place.append(
      createElement('label', {}, 'Which model ', this.#contender),
      row(
        this.#button('take-demo', 'A page that runs it, without a network', () => this.#save('demo')),
        this.#button('take-project', 'Everything, as a project (ZIP)', () => this.#save('project')),
        this.#button('take-card', 'Picture of the curves', async () => {
          download('curves.png', await drawCard())
          showStatus('The picture is among your downloads.')
        }),
      ),
      createElement('label', {}, 'Code that uses it, or trains it ', this.#text),
      row(
        this.#button('take-copy', 'Copy', async () => {
          await navigator.clipboard.writeText(this.#code.textContent ?? '')
          showStatus('The code is copied.')
        }),
        this.#button('take-file', 'Download', () => this.#save(this.#text.value as TakeAway)),
      ),
      this.#shown,
    )
    for (const each of [this.#contender, this.#text]) each.addEventListener('change', () => this.#show())
    this.offer(false)
  }

  /** Offers what can be taken away, or nothing while there are no tuned models. */
  offer(there: boolean): void {
    for (const each of this.#place.querySelectorAll<HTMLButtonElement | HTMLSelectElement>('button, select'))
      each.disabled = !there
    this.#shown.hidden = !there
    if (there) this.#show()
  }

  #show(): void {
    void runGuarded(null, async () => {
      const { content } = await this.#take(this.#text.value as TakeAway)
      this.#code.textContent = await content.text()
    })
  }

  async #save(what: TakeAway): Promise<void> {
    showStatus('Writing the file ...')
    const { name, content } = await this.#take(what)
    download(name, content)
    if (what === 'project' || what === 'demo') this.#onDownload()
    showStatus(`${name} is among your downloads.`)
  }

  #take(what: TakeAway) {
    return this.#calls.takeAway(what, this.#contender.value as ContenderName)
  }

  #button(id: string, text: string, work: () => Promise<void>): HTMLButtonElement {
    const button = createElement('button', { id, type: 'button', textContent: text })
    button.addEventListener('click', () => runGuarded(button, work))
    return button
  }
}

function select<Name extends string>(
  id: string,
  values: readonly Name[],
  titles: Readonly<Record<Name, string>>,
): HTMLSelectElement {
  const options = values.map((value) => createElement('option', { value, textContent: titles[value] }))
  return createElement('select', { id }, ...options)
}
