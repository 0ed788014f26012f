import { Worker } from 'node:worker_threads'
import type { Helpers } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { findWorker } from './packages.js'

/**
 * Cells that the threads share. WAKE changes whenever there are messages. CLAIM has the number of the current work in
 * its upper half and the next piece in the lower one: a helper that is late cannot claim a piece of other work. DONE
 * counts executed pieces.
 */
export const cells = { wake: 0, claim: 1, done: 2, failed: 3, count: 4 } as const

/** A message to a helper: data, or the current work. */
export interface HelperMessage {
  readonly message: unknown
  /** Number and pieces of the work; absent for data. */
  readonly work?: { readonly number: number; readonly pieces: number }
}

/** Largest number of helpers: an update is limited by the memory, not by the cores. */
const maxHelpers = 7
/** Largest number of pieces that half a cell can count. */
const maxPieces = 0xfffe
/** Milliseconds that the calling thread waits for one piece. */
const timeout = 60_000

/** Claims pieces of some work, until there is none left or other work has begun. */
export function* claimPieces(shared: Int32Array, number: number, pieces: number): Generator<number> {
  for (;;) {
    const value = Atomics.load(shared, cells.claim)
    const piece = value & 0xffff
    if (value >>> 16 !== number || piece >= pieces) return
    if (Atomics.compareExchange(shared, cells.claim, value, value + 1) === value) yield piece
  }
}

/**
 * Worker threads that wait for work without using a core. The calling thread works too and does not wait for a helper
 * to wake up, so that work is never slower than without helpers; a helper that cannot start takes no piece.
 */
export class HelperThreads implements Helpers {
  readonly #shared = new Int32Array(new SharedArrayBuffer(4 * cells.count))
  readonly #size: number
  #workers: readonly Worker[] | undefined
  #number = 0
  #closed = false

  /** @param threads threads that work at once, the calling thread included */
  constructor(threads: number) {
    this.#size = Math.min(threads - 1, maxHelpers)
  }

  send(message: unknown): void {
    this.#post({ message })
  }

  run(message: unknown, pieces: number, execute: (piece: number) => void): void {
    const shared = this.#shared
    const number = (this.#number + 1) & 0xffff
    this.#number = number
    Atomics.store(shared, cells.done, 0)
    Atomics.store(shared, cells.claim, number << 16)
    if (pieces > maxPieces) {
      for (let piece = 0; piece < pieces; piece++) execute(piece)
      return
    }
    this.#post({ message, work: { number, pieces } })
    let failure: { readonly cause: unknown } | undefined
    for (const piece of claimPieces(shared, number, pieces)) {
      try {
        execute(piece)
      } catch (cause) {
        failure ??= { cause }
      }
      // Counted in any case: the pieces of helpers must not end during other work.
      Atomics.add(shared, cells.done, 1)
    }
    waitUntilDone(shared, pieces)
    if (failure) throw failure.cause
    if (Atomics.load(shared, cells.failed) !== 0)
      throw new OnnxIreError('runtime', 'a thread that updates parameters failed; resume from a checkpoint')
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all((this.#workers ?? []).map((worker) => worker.terminate()))
    this.#workers = []
  }

  #post(message: HelperMessage): void {
    if (this.#closed) return
    this.#workers ??= this.#start()
    for (const worker of this.#workers) worker.postMessage(message)
    Atomics.add(this.#shared, cells.wake, 1)
    Atomics.notify(this.#shared, cells.wake)
  }

  #start(): readonly Worker[] {
    const file = findWorker('helper-thread')
    if (file === undefined) return []
    return Array.from({ length: this.#size }, () => {
      const worker = new Worker(file, { workerData: this.#shared, execArgv: [] })
      worker.unref()
      // It never claims a piece.
      worker.on('error', () => {})
      return worker
    })
  }
}

function waitUntilDone(shared: Int32Array, pieces: number): void {
  for (;;) {
    const done = Atomics.load(shared, cells.done)
    if (done >= pieces) return
    const result = Atomics.wait(shared, cells.done, done, timeout)
    if (result === 'timed-out' && Atomics.load(shared, cells.done) === done)
      throw new OnnxIreError('runtime', 'a thread that updates parameters does not answer; create a new runtime')
  }
}
