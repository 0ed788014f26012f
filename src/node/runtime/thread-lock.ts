/** Waits without blocking the thread. Node 20 has it; TypeScript declares it in a newer lib than ours. */
const { waitAsync } = Atomics as unknown as {
  waitAsync(cells: Int32Array, index: number, value: number): { readonly value: Promise<string> | string }
}

/**
 * Mutual exclusion between threads. onnxruntime's WebGPU provider has one device per process, and concurrent calls from
 * two threads end the process with a segmentation fault. All WebGPU runtimes of a process share one lock, whose cell
 * their workers receive.
 */
export class ThreadLock {
  readonly cell: Int32Array<SharedArrayBuffer>

  constructor(cell = new Int32Array(new SharedArrayBuffer(4))) {
    this.cell = cell
  }

  /** Runs `work` while no other thread is in `run`. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    while (Atomics.compareExchange(this.cell, 0, 0, 1) !== 0) await waitAsync(this.cell, 0, 1).value
    try {
      return await work()
    } finally {
      Atomics.store(this.cell, 0, 0)
      Atomics.notify(this.cell, 0, 1)
    }
  }
}
