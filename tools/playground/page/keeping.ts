import type { Calls, KeepingEvent } from '../protocol.js'
import { byId } from './dom.js'

const { title } = document

/** Stores the training run when the page is hidden, and makes the browser ask before leaving the page loses work. */
export class Keeping {
  #isRunning = false
  /** The reason why the tuned models are neither stored nor downloaded; null if nothing would be lost. */
  #unkept: string | null = null
  /** Ids of the runs of this visit whose models are not among the downloads. */
  readonly #undownloaded = new Set<string>()
  /** Id of the run whose models are open. */
  #current: string | null = null
  /** Whether the browser keeps what is stored here until it is deleted; otherwise it may clear it to gain space. */
  #isPersistent = false

  constructor(calls: Calls) {
    // A hidden page may be closed without another event.
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'hidden' && this.#isRunning) void calls.keep()
    })
    addEventListener('beforeunload', (event) => {
      if (this.#isRunning || this.#unkept !== null || this.#isUndownloaded) event.preventDefault()
    })
  }

  /** @param isExample whether the run trains on data of this page, of which nothing is lost */
  onEvent(event: KeepingEvent, isExample: boolean): void {
    if (event.kind === 'begun') {
      this.#isRunning = true
      this.#current = this.#unkept = null
      showUnkept(null)
      this.#showKept(false)
      void this.#persist()
    } else if (event.kind === 'kept') {
      showUnkept(
        event.reason &&
          `The latest state of this training run could not be stored in this browser: closing this page loses it. Keep the page open until the run ends. (${event.reason})`,
      )
    } else {
      this.#isRunning = false
      this.#current = event.run
      this.#unkept = event.run === null ? null : event.reason
      if (event.run !== null && !isExample) this.#undownloaded.add(event.run)
      showUnkept(
        this.#unkept &&
          `The tuned models could not be stored in this browser: closing this page loses them. Download them. (${this.#unkept})`,
      )
      this.#showKept(event.run !== null && event.reason === null)
    }
  }

  /** The models of a stored run are open, or those of a project file. */
  onOpen(run: string | null): void {
    this.#current = run
    this.#showKept(run !== null)
  }

  /** A tuned model is among the downloads. */
  onDownload(run = this.#current): void {
    if (run !== null) this.#undownloaded.delete(run)
    if (this.#isRunning || run !== this.#current) return
    this.#unkept = null
    showUnkept(null)
  }

  /** The models of a stored run were deleted. */
  onDelete(run: string): void {
    this.#undownloaded.delete(run)
    if (run === this.#current) this.#showKept(false)
  }

  get #isUndownloaded(): boolean {
    return this.#undownloaded.size > 0 && !this.#isPersistent
  }

  async #persist(): Promise<void> {
    this.#isPersistent = (await navigator.storage?.persist?.()) ?? false
  }

  /** Shows whether the models that are open are stored in this browser. */
  #showKept(isStored: boolean): void {
    const note = byId('kept')
    note.hidden = !isStored
    const advice = this.#isPersistent ? '' : ' A browser may clear what it stores: download what you want to keep.'
    note.textContent = `Both models are stored in this browser until you delete them, under “Your models” on the start page.${advice}`
  }
}

/**
 * Shows what closing the page loses, also in the title of the tab, which is hidden when this happens; null hides the
 * message.
 */
function showUnkept(message: string | null): void {
  const alert = byId('unstored')
  alert.hidden = message === null
  alert.textContent = message ?? ''
  document.title = message === null ? title : `Not stored! ${title}`
}
