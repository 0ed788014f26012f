/** The mean of independent samples and its standard error. */
export interface MeanEstimate {
  readonly value: number
  /** Standard error: the sample standard deviation over sqrt(n); infinite for one sample. */
  readonly error: number
}

/** Mean and standard error of independent samples. */
export function estimateMean(samples: readonly number[]): MeanEstimate {
  const n = samples.length
  const value = samples.reduce((sum, x) => sum + x, 0) / n
  const squares = samples.reduce((sum, x) => sum + (x - value) ** 2, 0)
  return { value, error: n < 2 ? Number.POSITIVE_INFINITY : Math.sqrt(squares / (n - 1) / n) }
}
