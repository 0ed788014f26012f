/**
 * An object of onnxruntime's that is ours to free. Freeing one twice, or while native code works with it, would crash the
 * process, and so would using it afterwards: here the first does nothing and the others throw.
 */
export class Handle {
  readonly #what: string
  readonly #free: (address: bigint) => void
  #address: bigint | null
  #users = 0

  /** `what` it is, for messages. */
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

  /** Native code works with it until `work` settles. */
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
