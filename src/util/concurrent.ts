/**
 * Maps every item by `f`, at most `limit` at a time. After a failure, pending calls are awaited and the first error is
 * thrown.
 */
export async function mapConcurrently<T, R>(
  items: ArrayLike<T>,
  limit: number,
  f: (item: T, i: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const failures: unknown[] = []
  let next = 0
  const work = async () => {
    while (next < items.length && failures.length === 0) {
      const i = next++
      try {
        results[i] = await f(items[i]!, i)
      } catch (failure) {
        failures.push(failure)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
  if (failures.length > 0) throw failures[0]
  return results
}

/** Runs asynchronous tasks one at a time, in the order of the calls. A failed task does not stop later ones. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.catch(() => {})
    return result
  }
}
