/** Held by one at a time, in the order they asked for it. */
export class Lock {
  #last: Promise<void> = Promise.resolve()

  /** Resolves when it is free, with what frees it again. */
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
