/** A mean of independent draws, and its error bar. */
export interface Estimate {
  readonly value: number
  /** The standard error: the draws' standard deviation over the square root of their number; infinite for one draw. */
  readonly error: number
}

export function estimateOf(draws: readonly number[]): Estimate {
  const n = draws.length
  const value = draws.reduce((sum, x) => sum + x, 0) / n
  const squares = draws.reduce((sum, x) => sum + (x - value) ** 2, 0)
  return { value, error: n < 2 ? Number.POSITIVE_INFINITY : Math.sqrt(squares / (n - 1) / n) }
}
