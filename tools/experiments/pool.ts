import { availableParallelism } from 'node:os'
import type { Runtime } from 'onnx-ire'
import { node } from 'onnx-ire/node'

/**
 * A runtime of one thread for each core, so that runs go side by side. Two threads at one convolution add up in another
 * order than one does, and training takes another course: with one each, results do not depend on how many cores there are.
 */
export class Pool {
  readonly #runtimes: readonly Runtime[]
  readonly #free: Runtime[]
  readonly #waiting: ((runtime: Runtime) => void)[] = []

  constructor(size = availableParallelism()) {
    this.#runtimes = Array.from({ length: size }, () => node({ threads: 1 }))
    this.#free = [...this.#runtimes]
  }

  /** Runs something on a runtime of its own, in the order of the calls, as soon as one is free. */
  async use<Result>(run: (runtime: Runtime) => Promise<Result>): Promise<Result> {
    const runtime = this.#free.pop() ?? (await new Promise<Runtime>((resolve) => this.#waiting.push(resolve)))
    try {
      return await run(runtime)
    } finally {
      const next = this.#waiting.shift()
      if (next) next(runtime)
      else this.#free.push(runtime)
    }
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#runtimes.map((runtime) => runtime.dispose()))
  }
}
