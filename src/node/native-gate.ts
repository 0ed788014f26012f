const INSIDE = 0
const SHUT = 1

/**
 * Two threads' agreement on when a worker may be ended. A worker stopped while onnxruntime's native code runs takes the
 * whole process down ("terminate called after throwing an instance of 'Napi::Error'"), and process.exit() or an
 * uncaught error stops workers. So the worker passes this gate on its way in and out of native code, and the exiting
 * thread shuts it first.
 */
export class NativeGate {
  /** Shared between the threads: is the worker inside, is the gate shut. */
  readonly cells: Int32Array<SharedArrayBuffer>

  constructor(cells = new Int32Array(new SharedArrayBuffer(8))) {
    this.cells = cells
  }

  /** Worker: does `work`, which calls native code. Never settles once the gate is shut, for the worker is about to end. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    // Each side writes its own cell before it reads the other's, so they cannot miss each other.
    Atomics.store(this.cells, INSIDE, 1)
    try {
      if (Atomics.load(this.cells, SHUT) === 0) return await work()
    } finally {
      Atomics.store(this.cells, INSIDE, 0)
      Atomics.notify(this.cells, INSIDE)
    }
    return new Promise(() => {})
  }

  /** Other thread: lets nothing in any more and blocks while the worker is inside, for `patience` milliseconds at most. */
  shut(patience: number): void {
    Atomics.store(this.cells, SHUT, 1)
    Atomics.wait(this.cells, INSIDE, 1, patience)
  }
}
