/** Milliseconds that works may take one after another before others have their turn: about what a page draws in. */
const patience = 16

/**
 * Carries out works one at a time, in the order they were asked for, whatever became of those before. Between two of them, every so
 * often, the thread is let go: what runs in WebAssembly comes back in microtasks, so that a loop over it would keep the thread
 * from messages, from drawing, and from being frozen with its page.
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

/** Resolves behind the events that are waiting; a timer would wait for milliseconds, and in hidden pages for seconds. */
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
