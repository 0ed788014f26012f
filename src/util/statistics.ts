/** A mean or a difference of means, with its 95 % confidence interval. */
export interface IntervalEstimate {
  /** Number of values, or of pairs; for two samples without pairs the smaller number. */
  readonly n: number
  readonly value: number
  /** Half width of the interval, by Student's t; NaN if it needs more values. */
  readonly half: number
}

export function sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}

export const mean = (values: readonly number[] | Float64Array): number => sum(values) / values.length

/** The value in the middle of the sorted values; of an even number of values the mean of the middle two. */
export function median(values: Iterable<number>): number {
  const sorted = Float64Array.from(values).sort()
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

/** The value in the middle of the sorted values; of an even number of values the larger of the middle two. */
export const upperMedian = (values: Iterable<number>): number => {
  const sorted = Float64Array.from(values).sort()
  return sorted[sorted.length >> 1]!
}

/** Standard deviation with n - 1 degrees of freedom; NaN for one value. */
export const deviation = (values: readonly number[]): number => {
  const center = mean(values)
  return Math.sqrt(values.reduce((sum, x) => sum + (x - center) ** 2, 0) / (values.length - 1))
}

/** Estimates the mean of a sample. */
export function estimateMean(values: readonly number[]): IntervalEstimate {
  const n = values.length
  return { n, value: mean(values), half: (studentQuantile(n - 1) * deviation(values)) / Math.sqrt(n) }
}

/** Estimates the mean of a[i] - b[i]: what the two values of a pair have in common, such as a seed, cancels. */
export const estimatePairedDifference = (a: readonly number[], b: readonly number[]): IntervalEstimate =>
  estimateMean(a.map((x, i) => x - b[i]!))

/** Estimates mean(a) - mean(b) of independent samples with different variances, by Welch's formula. */
export function estimateDifference(a: readonly number[], b: readonly number[]): IntervalEstimate {
  const [u, v] = [a, b].map((values) => deviation(values) ** 2 / values.length) as [number, number]
  const freedom =
    u + v === 0 ? a.length + b.length - 2 : (u + v) ** 2 / (u ** 2 / (a.length - 1) + v ** 2 / (b.length - 1))
  return {
    n: Math.min(a.length, b.length),
    value: mean(a) - mean(b),
    half: studentQuantile(freedom) * Math.sqrt(u + v),
  }
}

/**
 * The number t with |T| < t in 95 % of cases, for Student's distribution with `freedom` degrees of freedom, integer or
 * not; NaN below 1. With T = sqrt(freedom) tan(angle), the angle has a density in proportion to cos(angle)^(freedom -
 * 1) on (-pi/2, pi/2), which is summed at midpoints.
 */
export function studentQuantile(freedom: number): number {
  if (!(freedom >= 1)) return Number.NaN
  const count = 20_000
  const width = Math.PI / 2 / count
  const weights = Array.from({ length: count }, (_, k) => Math.cos((k + 0.5) * width) ** (freedom - 1))
  let left = 0.95 * weights.reduce((sum, weight) => sum + weight, 0)
  for (const [k, weight] of weights.entries()) {
    if (left <= weight) return Math.sqrt(freedom) * Math.tan((k + left / weight) * width)
    left -= weight
  }
  return Number.NaN
}
