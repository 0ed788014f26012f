import { deviation as deviationOf, mean, studentQuantile } from '../../src/util/statistics.js'

/** Mean of a sample, with its uncertainty. */
export interface Spread {
  readonly n: number
  readonly mean: number
  /** Standard deviation with n - 1 degrees of freedom; NaN for one value. */
  readonly deviation: number
  /** Half width of the 95 % confidence interval of the mean, by Student's t. */
  readonly half: number
}

export { mean }

export function computeSpread(values: readonly number[]): Spread {
  const deviation = deviationOf(values)
  const n = values.length
  return { n, mean: mean(values), deviation, half: (studentQuantile(n - 1) * deviation) / Math.sqrt(n) }
}

/** Statistics of a[i] - b[i]: runs with the same seed have the same data, so its part of the variance cancels. */
export const pairedSpread = (a: readonly number[], b: readonly number[]): Spread =>
  computeSpread(a.map((x, i) => x - b[i]!))

/**
 * Fits the exponents c of y = a prod_k x_k^(c_k) by least squares in logarithms.
 * @param points x and y, all positive
 */
export const fitExponents = (points: readonly { readonly x: readonly number[]; readonly y: number }[]): number[] =>
  fitLinear(points.map(({ x, y }) => ({ x: [1, ...x.map(Math.log)], y: Math.log(y) }))).coefficients.slice(1)

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

/** A least-squares fit y = x . c, with standard errors by the residuals. */
interface LinearFit {
  readonly coefficients: readonly number[]
  /** Half widths of the 95 % intervals of the coefficients. */
  readonly halves: readonly number[]
  /** Predicts y at x, with the half width of the 95 % interval of a new measurement. */
  predict(x: readonly number[]): { readonly mean: number; readonly half: number }
}

/**
 * Fits y = x . c by least squares. Columns that are 0 in every row get the coefficient NaN.
 * @param rows x and y; more rows than columns that vary
 */
export function fitLinear(rows: readonly { readonly x: readonly number[]; readonly y: number }[]): LinearFit {
  const all = rows[0]!.x.map((_, j) => j)
  const used = all.filter((j) => rows.some(({ x }) => x[j] !== 0))
  const reduced = rows.map(({ x, y }) => ({ x: used.map((j) => x[j]!), y }))
  const inverse = invert(moments(reduced.map(({ x }) => x)))
  const right = used.map((_, j) => reduced.reduce((sum, { x, y }) => sum + x[j]! * y, 0))
  const solution = inverse.map((row) => dot(row, right))
  const freedom = rows.length - used.length
  const variance = reduced.reduce((sum, { x, y }) => sum + (y - dot(x, solution)) ** 2, 0) / freedom
  const t = studentQuantile(freedom)
  const place = (values: readonly number[]) => all.map((j) => values[used.indexOf(j)] ?? Number.NaN)
  return {
    coefficients: place(solution),
    halves: place(used.map((_, j) => t * Math.sqrt(variance * inverse[j]![j]!))),
    predict(x) {
      const at = used.map((j) => x[j]!)
      const unknown = x.some((value, j) => value !== 0 && !used.includes(j))
      return {
        mean: unknown ? Number.NaN : dot(at, solution),
        half:
          t *
          Math.sqrt(
            variance *
              (1 +
                dot(
                  at,
                  inverse.map((row) => dot(row, at)),
                )),
          ),
      }
    },
  }
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, j) => sum + x * b[j]!, 0)

/** X^T X, plus a number on the diagonal. */
export const moments = (rows: readonly (readonly number[])[], diagonal = 0): number[][] =>
  rows[0]!.map((_, i) =>
    rows[0]!.map((_, j) => rows.reduce((sum, x) => sum + x[i]! * x[j]!, 0) + (i === j ? diagonal : 0)),
  )

/** Inverse of a symmetric positive definite matrix. */
export const invert = (matrix: readonly (readonly number[])[]): number[][] =>
  matrix.map((_, i) => solveLinear(matrix.map((row, k) => [...row, k === i ? 1 : 0])))
