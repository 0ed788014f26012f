const insideCell = 0
const closedCell = 1

/**
 * Delays the end of a worker while it runs native code. Stopping a worker inside onnxruntime aborts the whole process
 * ("terminate called after throwing an instance of 'Napi::Error'"), and process.exit() or an uncaught error stops
 * workers. The worker therefore marks when it enters and leaves native code, and the exiting thread waits for it.
 */
export class ExitGuard {
  /** Shared flags: whether the worker is in native code, and whether it may enter. */
  readonly cells: Int32Array<SharedArrayBuffer>

  constructor(cells = new Int32Array(new SharedArrayBuffer(8))) {
    this.cells = cells
  }

  /** Runs `work`, which calls native code, in the worker. Never settles after `close`: the worker is about to end. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    // Each thread writes its own cell before it reads the other's, so that neither misses the other.
    Atomics.store(this.cells, insideCell, 1)
    try {
      if (Atomics.load(this.cells, closedCell) === 0) return await work()
    } finally {
      Atomics.store(this.cells, insideCell, 0)
      Atomics.notify(this.cells, insideCell)
    }
    return new Promise(() => {})
  }

  /**
   * Called by the exiting thread: forbids further native calls and blocks while one is running, for at most `timeout`
   * milliseconds.
   */
  close(timeout: number): void {
    Atomics.store(this.cells, closedCell, 1)
    Atomics.wait(this.cells, insideCell, 1, timeout)
  }
}
