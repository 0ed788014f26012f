/** A signal that ends some work: an AbortSignal, or a plain object, which is read between items only. */
export interface Signal {
  readonly aborted: boolean
  readonly reason?: unknown
}

/** The part of an AbortSignal that reports an abort while nothing else happens. */
interface AbortEvents extends Signal {
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** Thrown by work that a signal has ended before its end. */
export class Aborted extends Error {
  readonly reason: unknown

  constructor({ reason }: Signal) {
    super('aborted')
    this.reason = reason ?? this
  }
}

/**
 * Yields the items of a generator until a signal is aborted, also, if it is an AbortSignal, while it waits for the next
 * one. A generator that waits then is not waited for: it ends after the item is there.
 */
export async function* untilAborted<T>(items: AsyncGenerator<T>, signal: Signal | undefined): AsyncGenerator<T> {
  try {
    while (!signal?.aborted) {
      const next = await unlessAborted(items.next(), signal)
      if (!next || next.done) return
      yield next.value
    }
  } finally {
    const end = items.return(undefined)
    if (signal?.aborted && hasEvents(signal)) end.catch(() => {})
    else await end
  }
}

/** As `untilAborted`, but throws `Aborted` at the end if the signal is aborted. */
export async function* orAborted<T>(items: AsyncGenerator<T>, signal: Signal | undefined): AsyncGenerator<T> {
  yield* untilAborted(items, signal)
  if (signal?.aborted) throw new Aborted(signal)
}

/** The result of some work; throws the reason of the signal that has ended it. */
export async function orReason<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw error instanceof Aborted ? error.reason : error
  }
}

/** The result of some work; undefined if an AbortSignal is aborted first, which does not end the work. */
export function unlessAborted<T>(work: Promise<T>, signal: Signal | undefined): Promise<T | undefined> {
  if (!signal || !hasEvents(signal)) return work
  return new Promise((resolve, reject) => {
    const abort = () => resolve(undefined)
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Whether a signal reports that it is aborted, as an AbortSignal does. */
const hasEvents = (signal: Signal): signal is AbortEvents => 'addEventListener' in signal
