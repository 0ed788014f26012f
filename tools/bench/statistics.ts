/** Median and range of repeated measurements. */
export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return {
    median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2,
    least: sorted[0]!,
    most: sorted.at(-1)!,
  }
}

/** Median with its 95 % confidence interval. */
export interface Interval {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** The median and its interval of at least 95 %, between two of the sorted values; it takes 6, of any distribution. */
export function medianInterval(values: readonly number[]): Interval {
  const sorted = [...values].sort((a, b) => a - b)
  // The number of values below the median is binomial; `outside` of them on either side are left out.
  const outside = Math.max(0, Math.floor((values.length - 1.96 * Math.sqrt(values.length)) / 2) - 1)
  return { median: spreadOf(values).median, low: sorted[outside]!, high: sorted.at(-1 - outside)! }
}

/** Largest relative differences between two sequences of losses: of the first, and of the later ones. */
export interface Disagreement {
  readonly first: number
  readonly later: number
}

/** Compares losses with those of the reference; a loss that is not finite differs infinitely. */
export function disagreementOf(losses: readonly number[], expected: readonly number[]): Disagreement {
  const [first = 0, ...later] = losses.map((x, i) => {
    const difference = Math.abs(x / expected[i]! - 1)
    return Number.isFinite(difference) ? difference : Number.POSITIVE_INFINITY
  })
  return { first, later: Math.max(0, ...later) }
}

/** Remaining duration, if the rest advances as `done` of `total` parts did in `elapsed`. */
export const remainingSeconds = (elapsed: number, done: number, total: number): number =>
  (elapsed / done) * (total - done)
