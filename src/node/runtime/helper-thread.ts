import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { createReceiver } from '../../optim/expr/parallel.js'
import { cells, claimPieces, type HelperMessage } from './helper-threads.js'

/**
 * Helper side of `HelperThreads`: takes part in the work that was sent last, then sleeps. It blocks its event loop and
 * reads messages directly: waking up takes less time than an update of a small network.
 */
const shared = workerData as Int32Array
const receive = createReceiver(createGarbageCollector())

for (;;) {
  const wake = Atomics.load(shared, cells.wake)
  let last: (NonNullable<HelperMessage['work']> & { readonly execute: (piece: number) => void }) | undefined
  for (const { message, work } of messages()) {
    const execute = receive(message)
    if (work && execute) last = { ...work, execute }
  }
  if (last) {
    const { number, pieces, execute } = last
    for (const piece of claimPieces(shared, number, pieces)) {
      try {
        execute(piece)
      } catch {
        Atomics.store(shared, cells.failed, 1)
      }
      if (Atomics.add(shared, cells.done, 1) + 1 === pieces) Atomics.notify(shared, cells.done)
    }
  }
  Atomics.wait(shared, cells.wake, wake)
}

/** Returns a function that collects garbage in this thread; one that does nothing if V8 has none. */
function createGarbageCollector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('globalThis.gc')
  setFlagsFromString('--no-expose-gc')
  return typeof collect === 'function' ? () => collect() : () => {}
}

function* messages(): Generator<HelperMessage> {
  for (;;) {
    const received = receiveMessageOnPort(parentPort!)
    if (received === undefined) return
    yield received.message as HelperMessage
  }
}
