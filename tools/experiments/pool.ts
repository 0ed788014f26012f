import { availableParallelism } from 'node:os'
import type { Runtime } from 'onnx-ire'
import { node } from 'onnx-ire/node'

/**
 * One single-threaded runtime per core, for concurrent runs. With two threads a convolution sums in another order,
 * which changes a training run; with one thread, results do not depend on the number of cores.
 */
export class Pool {
  readonly #runtimes: readonly Runtime[]
  readonly #free: Runtime[]
  readonly #waiting: ((runtime: Runtime) => void)[] = []

  constructor(size = availableParallelism()) {
    this.#runtimes = Array.from({ length: size }, () => node({ threads: 1 }))
    this.#free = [...this.#runtimes]
  }

  /** The number of concurrent runs. */
  get size(): number {
    return this.#runtimes.length
  }

  /** Runs an action on the next free runtime, in the order of the calls. */
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
