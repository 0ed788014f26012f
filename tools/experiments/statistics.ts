/** Mean of a sample, with its uncertainty. */
export interface Spread {
  readonly n: number
  readonly mean: number
  /** Standard deviation with n - 1 degrees of freedom; NaN for one value. */
  readonly deviation: number
  /** Half width of the 95 % confidence interval of the mean, by Student's t. */
  readonly half: number
}

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length

export function computeSpread(values: readonly number[]): Spread {
  const n = values.length
  const centre = mean(values)
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (n - 1))
  return { n, mean: centre, deviation, half: (studentQuantile(n - 1) * deviation) / Math.sqrt(n) }
}

/** Statistics of a[i] - b[i]: runs with the same seed have the same data, so its part of the variance cancels. */
export const pairedSpread = (a: readonly number[], b: readonly number[]): Spread =>
  computeSpread(a.map((x, i) => x - b[i]!))

/** Quantiles 0.975 of t for 1 to 30 degrees of freedom f; above 30, t = z + (z^3 + z) / (4 f), error below 0.002. */
export function studentQuantile(freedom: number): number {
  const z = 1.959964
  return table[freedom - 1] ?? (freedom < 1 ? Number.NaN : z + (z ** 3 + z) / (4 * freedom))
}

const table = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
]

/**
 * Fits the exponents c of y = a prod_k x_k^(c_k) by least squares in logarithms.
 * @param points x and y, all positive
 */
export function fitExponents(points: readonly { readonly x: readonly number[]; readonly y: number }[]): number[] {
  const rows = points.map(({ x }) => [1, ...x.map(Math.log)])
  const size = rows[0]!.length
  // Normal equations: A^T A c = A^T ln y
  const system = Array.from({ length: size }, (_, i) => [
    ...Array.from({ length: size }, (_, j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0)),
    rows.reduce((sum, row, r) => sum + row[i]! * Math.log(points[r]!.y), 0),
  ])
  return solveLinear(system).slice(1)
}

/** Solves the n equations [A | b] by Gaussian elimination with row pivots. */
export function solveLinear(system: readonly (readonly number[])[]): number[] {
  const rows = system.map((row) => [...row])
  const n = rows.length
  for (let i = 0; i < n; i++) {
    const pivot = rows
      .slice(i)
      .reduce((best, row, k) => (Math.abs(row[i]!) > Math.abs(rows[best]![i]!) ? i + k : best), i)
    ;[rows[i], rows[pivot]] = [rows[pivot]!, rows[i]!]
    for (let k = i + 1; k < n; k++) {
      const factor = rows[k]![i]! / rows[i]![i]!
      for (let j = i; j <= n; j++) rows[k]![j]! -= factor * rows[i]![j]!
    }
  }
  const x = new Array<number>(n).fill(0)
  for (let i = n - 1; i >= 0; i--) {
    const rest = x.reduce((sum, value, j) => (j > i ? sum + rows[i]![j]! * value : sum), 0)
    x[i] = (rows[i]![n]! - rest) / rows[i]![i]!
  }
  return x
}
