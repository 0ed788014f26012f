import { solveLinear, studentQuantile } from '../statistics.js'

/** A least-squares fit y = x . c, with standard errors by the residuals. */
export interface LinearFit {
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

/**
 * Chooses the measurement that lowers the summed variance of the coefficients most per cost: A-optimal design. Before
 * anything is known, coefficients have a standard deviation of ten times that of a measurement.
 * @param measured rows x of what is measured
 * @returns index of a candidate
 */
export function chooseNext(
  measured: readonly (readonly number[])[],
  candidates: readonly { readonly x: readonly number[]; readonly cost: number }[],
): number {
  const variance = (rows: readonly (readonly number[])[]) =>
    invert(moments(rows, 0.01)).reduce((sum, row, j) => sum + row[j]!, 0)
  const prior = candidates[0]!.x.map(() => 0)
  const before = variance([prior, ...measured])
  const gains = candidates.map(({ x, cost }) => (before - variance([prior, ...measured, x])) / cost)
  return gains.indexOf(Math.max(...gains))
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, j) => sum + x * b[j]!, 0)

/** X^T X, plus a number on the diagonal. */
const moments = (rows: readonly (readonly number[])[], diagonal = 0): number[][] =>
  rows[0]!.map((_, i) =>
    rows[0]!.map((_, j) => rows.reduce((sum, x) => sum + x[i]! * x[j]!, 0) + (i === j ? diagonal : 0)),
  )

/** Inverse of a symmetric positive definite matrix. */
const invert = (matrix: readonly (readonly number[])[]): number[][] =>
  matrix.map((_, i) => solveLinear(matrix.map((row, k) => [...row, k === i ? 1 : 0])))
