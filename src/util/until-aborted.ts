/** What is read of an AbortSignal. */
interface AbortEvents {
  readonly aborted: boolean
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/**
 * Yields the items of a generator until a signal is aborted, also while it waits for the next one. A generator that
 * waits then is not waited for: it ends after the item is there.
 */
export async function* untilAborted<T>(items: AsyncGenerator<T>, signal: AbortEvents): AsyncGenerator<T> {
  try {
    while (!signal.aborted) {
      const next = await nextUnlessAborted(items, signal)
      if (!next || next.done) return
      yield next.value
    }
  } finally {
    const end = items.return(undefined)
    if (signal.aborted) end.catch(() => {})
    else await end
  }
}

/** The next item; undefined if the signal is aborted first. */
function nextUnlessAborted<T>(items: AsyncGenerator<T>, signal: AbortEvents): Promise<IteratorResult<T> | undefined> {
  return new Promise((resolve, reject) => {
    const abort = () => resolve(undefined)
    signal.addEventListener('abort', abort)
    items
      .next()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Whether a signal reports that it is aborted, as an AbortSignal does. */
export const hasEvents = (signal: { readonly aborted: boolean } | undefined): signal is AbortEvents =>
  signal !== undefined && 'addEventListener' in signal
