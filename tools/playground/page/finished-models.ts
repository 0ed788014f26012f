import { type Calls, type ContenderName, contenders, type FinishedRun, type Reopened } from '../protocol.js'
import { byId, createElement } from './dom.js'
import { download } from './download.js'
import { titleOf } from './model-panel.js'
import { runGuarded, showStatus } from './status.js'

const names = Object.keys(contenders) as ContenderName[]

/** Callbacks of the actions on a run; their argument is its id. */
interface Actions {
  onOpen(run: string, reopened: Reopened): void
  onDownload(run: string): void
  onDelete(run: string): void
}

/** The list of finished runs, whose tuned models stay in this browser until they are deleted. */
export class FinishedModels {
  readonly #calls: Calls
  readonly #actions: Actions

  constructor(calls: Calls, actions: Actions) {
    this.#calls = calls
    this.#actions = actions
  }

  /** Lists the runs again. */
  async list(): Promise<void> {
    const runs = await this.#calls.finished()
    byId('finished').hidden = runs.length === 0
    byId('finished-list').replaceChildren(...runs.map((run) => this.#item(run)))
  }

  #item(run: FinishedRun): HTMLLIElement {
    const results = names.flatMap((name) => {
      const result = run.results[name]
      return result ? [`${contenders[name]} ${(100 * result.heldAccuracy).toFixed(1)} %`] : []
    })
    const title = `${run.classes.slice(0, 6).join(', ')}${run.classes.length > 6 ? ', ...' : ''}`
    const facts = [titleOf(run.model), new Date(run.at).toLocaleString(), ...results].join(' · ')
    const button = (text: string, work: () => Promise<void>) => {
      const made = createElement('button', { type: 'button', textContent: text, ariaLabel: `${text}: ${title}` })
      made.addEventListener('click', () => runGuarded(made, work))
      return made
    }
    return createElement(
      'li',
      {},
      createElement('strong', {}, title),
      createElement('small', {}, facts),
      button('Open', () => this.#open(run)),
      ...names.map((name) =>
        button(`Download ${contenders[name]}`, async () => {
          download(name === 'ire' ? 'tuned-ire.onnx' : 'tuned.onnx', await this.#calls.tuned(run.id, name))
          this.#actions.onDownload(run.id)
          showStatus('The tuned model is among your downloads.')
        }),
      ),
      button('Delete', () => this.#delete(run)),
    )
  }

  async #open(run: FinishedRun): Promise<void> {
    showStatus('Reading the model and the data again ...')
    this.#actions.onOpen(run.id, await this.#calls.reopen(run.id))
  }

  async #delete(run: FinishedRun): Promise<void> {
    await this.#calls.forget(run.id)
    this.#actions.onDelete(run.id)
    await this.list()
    showStatus('Both models are deleted.')
  }
}
