import type { Calls, DataChoice } from '../protocol.js'
import type { DataPanel } from './data-panel.js'
import { showStatus } from './status.js'

/** Milliseconds without a change after which the examples are stored. */
const pause = 1000

/** Stores the examples of the class cards in this browser while they are collected. */
export class KeptExamples {
  readonly #calls: Calls
  readonly #data: DataPanel
  #timer = 0

  constructor(calls: Calls, data: DataPanel) {
    this.#calls = calls
    this.#data = data
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'hidden' && this.#timer !== 0) void this.#store()
    })
  }

  /** Stores the examples soon. */
  onChange(): void {
    this.cancel()
    if (this.#data.cards.isEdited) this.#timer = window.setTimeout(() => this.#store(), pause)
  }

  /** Does not store changes that are not stored yet, as a training run that has begun stores them itself. */
  cancel(): void {
    clearTimeout(this.#timer)
    this.#timer = 0
  }

  async #store(): Promise<void> {
    this.cancel()
    const { classes, examples } = this.#data.cards
    try {
      await this.#calls.keepExamples({ kind: 'shown', classes, examples })
    } catch (error) {
      showStatus(`The examples could not be stored in this browser: ${(error as Error).message}`, 'warning')
    }
  }
}

/** Shows data that were reopened: the examples in their cards, or the source that they come from. */
export function showChoice(data: DataPanel, choice: DataChoice): void {
  if (choice.kind !== 'shown') {
    data.choose(choice.kind)
    return
  }
  const { examples } = choice
  // Two cards that had the same name become one, since their examples differ by it alone.
  const classes = [...new Set(choice.classes)]
  data.choose(examples[0]!.pixels.width < 64 ? 'draw' : 'photos')
  data.cards.reset(classes)
  for (const [i, name] of classes.entries())
    data.cards.fill(
      i,
      examples.filter(({ label }) => label === name).map(({ pixels }) => pixels),
    )
}
