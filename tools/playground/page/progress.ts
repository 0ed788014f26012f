import type { ContenderName, StepEvent } from '../protocol.js'

/** Intervals between two steps that the speed is the mean of, at most. */
const remembered = 40

/** Progress of both runs, and the time left at the speed of the last steps, including evaluations. */
export class Progress {
  readonly #steps = new Map<ContenderName, number>()
  /** Mean milliseconds between two steps of either run. */
  #pace = 0
  #counted = 0
  #last: number | undefined

  get begun(): boolean {
    return this.#steps.size > 0
  }

  after({ contender, step, steps }: StepEvent, now = performance.now()) {
    const isFirst = !this.#steps.has(contender)
    const before = this.#done
    this.#steps.set(contender, step + 1)
    const done = this.#done
    // A first event reports the steps before a resume too, and its time includes compiling. An event may report several
    // steps, and fewer steps than before after a lost device.
    if (!isFirst && this.#steps.size === 2 && this.#last !== undefined && done > before)
      this.#pace += ((now - this.#last) / (done - before) - this.#pace) / Math.min(++this.#counted, remembered)
    this.#last = now
    const left = ((2 * steps - done) * this.#pace) / 1000
    // The first intervals vary: two steps of each run are enough for an estimate.
    const pace =
      this.#counted > 1 ? `, ${this.#pace.toFixed(this.#pace < 10 ? 1 : 0)} ms each, ${timeText(left)} left` : ''
    return { share: done / (2 * steps), text: `Step ${step + 1} of ${steps}${pace}` }
  }

  /** Steps of both runs. */
  get #done(): number {
    return [...this.#steps.values()].reduce((sum, each) => sum + each, 0)
  }

  /** Excludes the time until the next step from the speed. */
  interrupt(): void {
    this.#last = undefined
  }
}

function timeText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
