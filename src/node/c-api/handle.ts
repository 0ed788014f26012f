/**
 * An onnxruntime object that this library must free. Freeing it twice, while native code uses it, or using it
 * afterwards would crash the process: here a second release does nothing, and the other two throw.
 */
export class Handle {
  readonly #what: string
  readonly #free: (address: bigint) => void
  #address: bigint | null
  #users = 0

  /** @param what name of the object in messages */
  constructor(what: string, address: bigint, free: (address: bigint) => void) {
    this.#what = what
    this.#address = address
    this.#free = free
  }

  get address(): bigint {
    if (this.#address === null) throw new Error(`the ${this.#what} was released`)
    return this.#address
  }

  get released(): boolean {
    return this.#address === null
  }

  /** Marks the object as used by native code until `work` settles. */
  async during<T>(work: () => T | Promise<T>): Promise<T> {
    if (this.#address === null) throw new Error(`the ${this.#what} was released`)
    this.#users++
    try {
      return await work()
    } finally {
      this.#users--
    }
  }

  release(): void {
    if (this.#users > 0) throw new Error(`the ${this.#what} is in use`)
    if (this.#address === null) return
    const address = this.#address
    this.#address = null
    this.#free(address)
  }
}
