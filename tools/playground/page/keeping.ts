import type { Calls, KeepingEvent } from '../protocol.js'
import { byId } from './dom.js'

const { title } = document

/** Stores the training run when the page is hidden, and makes the browser ask before leaving the page loses work. */
export class Keeping {
  #isRunning = false
  /** Why the tuned models are neither stored nor downloaded; null if nothing would be lost. */
  #unkept: string | null = null

  constructor(calls: Calls) {
    // A hidden page may be closed without another event.
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'hidden' && this.#isRunning) void calls.keep()
    })
    addEventListener('beforeunload', (event) => {
      if (this.#isRunning || this.#unkept !== null) event.preventDefault()
    })
  }

  onEvent(event: KeepingEvent): void {
    if (event.kind === 'begun') {
      this.#isRunning = true
      this.#unkept = null
      // Otherwise the browser may clear the storage when disk space runs short.
      void navigator.storage?.persist?.()
      showUnkept(null)
    } else if (event.kind === 'kept') {
      showUnkept(
        event.reason &&
          `The latest state of this training run could not be stored in this browser: closing this page loses it. Keep the page open until the run ends. (${event.reason})`,
      )
    } else {
      this.#isRunning = false
      this.#unkept = event.hasModels ? event.reason : null
      showUnkept(
        this.#unkept &&
          `The tuned models could not be stored in this browser: closing this page loses them. Download them. (${this.#unkept})`,
      )
    }
  }

  /** A tuned model is among the downloads. */
  onDownload(): void {
    if (this.#isRunning) return
    this.#unkept = null
    showUnkept(null)
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
