import { SerialQueue } from '../../util/concurrent.js'

/** Milliseconds of work after which the queue yields to the event loop: about one frame of a page. */
const frame = 16

/**
 * Serial queue that regularly yields to the event loop between tasks: WebAssembly returns in microtasks, so a loop over
 * it would block messages, drawing and the freezing of a hidden page.
 */
export class YieldingQueue extends SerialQueue {
  #lastYield = performance.now()

  override run<T>(task: () => Promise<T>): Promise<T> {
    return super.run(async () => {
      if (performance.now() - this.#lastYield > frame) {
        await nextTask()
        this.#lastYield = performance.now()
      }
      return task()
    })
  }
}

/** Resolves after the pending events; a timer would take milliseconds, and seconds in hidden pages. */
function nextTask(): Promise<void> {
  const { port1, port2 } = new MessageChannel()
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
