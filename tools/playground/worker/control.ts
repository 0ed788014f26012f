/** Pauses and ends a training run, from before it has begun. */
export class Control {
  readonly #stopping = new AbortController()
  #paused: Promise<void> | undefined
  #resume = () => {}

  get signal(): AbortSignal {
    return this.#stopping.signal
  }

  get stopped(): boolean {
    return this.#stopping.signal.aborted
  }

  pause(paused: boolean): void {
    this.#resume()
    this.#paused = undefined
    if (paused && !this.stopped)
      this.#paused = new Promise((resolve) => {
        this.#resume = resolve
      })
  }

  stop(): void {
    this.#stopping.abort()
    this.pause(false)
  }

  /** Resolves when training may go on. */
  async passed(): Promise<void> {
    while (this.#paused) await this.#paused
  }
}
