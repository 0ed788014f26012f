import type { ContenderName, ProgressEvent } from '../protocol.js'

/** Largest number of losses of steps that are remembered of each contender. */
const limit = 500

/** The progress of a run, from which its curves are drawn again. Of many steps it remembers some. */
export class History {
  #events: ProgressEvent[]

  /** @param steps the number of steps of each contender, to which a stored history is cut */
  constructor(events: readonly ProgressEvent[] = [], steps: Readonly<Partial<Record<ContenderName, number>>> = {}) {
    this.#events = events.filter(({ contender, step }) => step < (steps[contender] ?? Number.POSITIVE_INFINITY))
  }

  get events(): readonly ProgressEvent[] {
    return this.#events
  }

  add(event: ProgressEvent): void {
    this.#events.push(event)
    const isOfSteps = ({ kind, contender }: ProgressEvent) => kind === 'step' && contender === event.contender
    if (event.kind !== 'step' || this.#events.filter(isOfSteps).length <= limit) return
    let count = 0
    this.#events = this.#events.filter((each) => !isOfSteps(each) || count++ % 2 === 0)
  }
}
