/** Milliseconds of work after which the queue yields to the event loop: about one frame of a page. */
const patience = 16

/**
 * Serial queue of asynchronous tasks; a failed task does not stop later ones. Between tasks it regularly yields to the
 * event loop: WebAssembly returns in microtasks, so a loop over it would block messages, drawing and the freezing of a
 * hidden page.
 */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()
  #since = performance.now()

  take<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(async () => {
      if (performance.now() - this.#since > patience) {
        await nextTask()
        this.#since = performance.now()
      }
      return work()
    })
    this.#last = result.catch(() => {})
    return result
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
