import type { SymmetricOperator } from '../../../src/analysis/flatness/lanczos.js'
import { Random } from '../../../src/util/random.js'

/** Q diag(values) Q^T for a random orthogonal Q, by reflections I - 2 u u^T of a diagonal matrix. */
export function matrixOf(values: readonly number[], seed = 5): number[][] {
  const n = values.length
  const random = new Random(seed)
  const a = values.map((value, i) => values.map((_, j) => (i === j ? value : 0)))
  for (let round = 0; round < 3; round++) {
    const u = [...random.fill(new Float64Array(n), 'normal')]
    const square = u.reduce((sum, x) => sum + x * x, 0)
    // A <- (I - c u u^T) A (I - c u u^T)
    const c = 2 / square
    for (const row of a) {
      const p = c * row.reduce((sum, x, j) => sum + x * u[j]!, 0)
      for (let j = 0; j < n; j++) row[j]! -= p * u[j]!
    }
    for (let j = 0; j < n; j++) {
      const p = c * a.reduce((sum, row, i) => sum + row[j]! * u[i]!, 0)
      for (let i = 0; i < n; i++) a[i]![j]! -= p * u[i]!
    }
  }
  return a
}

/** A matrix as an operator that counts its products. */
export function operatorOf(matrix: readonly (readonly number[])[]): SymmetricOperator & { products: number } {
  return {
    size: matrix.length,
    products: 0,
    async times(v) {
      this.products++
      return Float64Array.from(matrix, (row) => row.reduce((sum, x, j) => sum + x * v[j]!, 0))
    },
  }
}

/** Products with all unit vectors: the matrix, column by column. */
export async function explicit(operator: SymmetricOperator): Promise<number[][]> {
  const columns: number[][] = []
  for (let i = 0; i < operator.size; i++) {
    const unit = new Float64Array(operator.size)
    unit[i] = 1
    columns.push([...(await operator.times(unit))])
  }
  return columns
}

export const traceOf = (matrix: readonly (readonly number[])[]): number =>
  matrix.reduce((sum, row, i) => sum + row[i]!, 0)

export const squaresOf = (matrix: readonly (readonly number[])[]): number =>
  matrix.reduce((sum, row) => sum + row.reduce((s, x) => s + x * x, 0), 0)

/** Eigenvalues of a symmetric matrix by Jacobi's rotations, ascending: nothing in common with Lanczos or QL. */
export function jacobi(matrix: readonly (readonly number[])[]): number[] {
  const n = matrix.length
  const a = matrix.map((row) => [...row])
  for (let round = 0; round < 60; round++) {
    let off = 0
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        off += a[p]![q]! ** 2
        if (a[p]![q] === 0) continue
        const theta = (a[q]![q]! - a[p]![p]!) / (2 * a[p]![q]!)
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1))
        const c = 1 / Math.hypot(t, 1)
        const s = t * c
        for (let k = 0; k < n; k++) {
          const [x, y] = [a[k]![p]!, a[k]![q]!]
          a[k]![p] = c * x - s * y
          a[k]![q] = s * x + c * y
        }
        for (let k = 0; k < n; k++) {
          const [x, y] = [a[p]![k]!, a[q]![k]!]
          a[p]![k] = c * x - s * y
          a[q]![k] = s * x + c * y
        }
      }
    if (off < 1e-28 * squaresOf(a)) break
  }
  return a.map((row, i) => row[i]!).sort((x, y) => x - y)
}
