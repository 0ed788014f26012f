import type { FloatArray } from '../../ir/float-array.js'

/**
 * A computation on counts, over the arrays of one process or of several: yields counts of this process, and receives
 * those of all processes together.
 */
export type Counting<T> = Generator<readonly Uint32Array[], T, readonly Uint32Array[]>

/** Runs a computation whose arrays are all in this process. */
export function countAlone<T>(counting: Counting<T>): T {
  let next = counting.next()
  while (!next.done) next = counting.next(next.value)
  return next.value
}

/**
 * Runs a computation whose arrays are divided among processes, each of which makes the same call.
 * @param sum replaces arrays by their sums over all processes
 */
export async function countTogether<T>(
  counting: Counting<T>,
  sum: (arrays: readonly FloatArray[]) => Promise<void>,
): Promise<T> {
  let next = counting.next()
  while (!next.done) {
    // Copies: what is yielded may be in memory that others use while this waits. float64 counts exactly.
    const sums = next.value.map((counts) => new Float64Array(counts))
    await sum(sums)
    next = counting.next(sums.map((counts) => new Uint32Array(counts)))
  }
  return next.value
}
