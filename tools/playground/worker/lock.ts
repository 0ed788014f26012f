/** A mutual-exclusion lock with first-come, first-served order. */
export class Lock {
  #last: Promise<void> = Promise.resolve()

  /** Resolves to a release function when the lock is free. */
  async take(): Promise<() => void> {
    const before = this.#last
    let free = () => {}
    this.#last = new Promise((resolve) => {
      free = resolve
    })
    await before
    return free
  }
}
