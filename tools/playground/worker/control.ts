/** Pauses and stops a training run, even before it begins. */
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

  /** Resolves when training may continue. */
  async passed(): Promise<void> {
    while (this.#paused) await this.#paused
  }
}
