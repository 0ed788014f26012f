import { dot } from '../../ir/float-array.js'
import type { Random } from '../../util/random.js'
import { addScaled, norm, type ParameterVector, scale } from './vector.js'

/** A real symmetric matrix given by its products with vectors, for example a Hessian. */
export interface SymmetricOperator {
  /** Number of rows and of columns. */
  readonly size: number
  /** Returns A v as a new vector. */
  times(v: ParameterVector): Promise<ParameterVector>
}

/** A symmetric tridiagonal matrix: its diagonal and its off-diagonal, which is one element shorter. */
interface Tridiagonal {
  readonly diagonal: readonly number[]
  readonly offDiagonal: readonly number[]
}

interface TridiagonalEigen {
  /** Ascending. */
  readonly values: readonly number[]
  /** The first and the last component of each unit eigenvector. */
  readonly first: readonly number[]
  readonly last: readonly number[]
}

/**
 * Eigenvalues by the implicit QL algorithm with Wilkinson's shift (Dubrulle, Martin and Wilkinson 1968; EISPACK
 * imtql2). Only two rows of the eigenvectors are computed, as quadratures and error bounds need no more: O(m^2)
 * operations.
 */
export function eigenDecomposition({ diagonal, offDiagonal }: Tridiagonal): TridiagonalEigen {
  const m = diagonal.length
  const d = Float64Array.from(diagonal)
  const e = new Float64Array(m)
  e.set(offDiagonal.slice(0, m - 1))
  const first = new Float64Array(m)
  const last = new Float64Array(m)
  first[0] = 1
  last[m - 1] = 1
  for (let l = 0; l < m; l++) {
    for (let end = findSplit(d, e, l); end > l; end = findSplit(d, e, l)) qlStep(d, e, l, end, [first, last])
  }
  const order = Array.from(d.keys()).sort((a, b) => d[a]! - d[b]!)
  const sorted = (array: Float64Array) => order.map((i) => array[i]!)
  return { values: sorted(d), first: sorted(first), last: sorted(last) }
}

/** The first row from `l` on after which the off-diagonal element is negligible, so that the matrix splits. */
function findSplit(d: Float64Array, e: Float64Array, l: number): number {
  let i = l
  while (i < d.length - 1 && Math.abs(e[i]!) > Number.EPSILON * (Math.abs(d[i]!) + Math.abs(d[i + 1]!))) i++
  return i
}

/** One implicit QL step on rows l to end, its rotations applied to `rows` of the eigenvectors. */
function qlStep(d: Float64Array, e: Float64Array, l: number, end: number, rows: readonly Float64Array[]): void {
  const half = (d[l + 1]! - d[l]!) / (2 * e[l]!)
  let g = d[end]! - d[l]! + e[l]! / (half + Math.sign(half || 1) * Math.hypot(half, 1))
  let [s, c, p] = [1, 1, 0]
  for (let i = end - 1; i >= l; i--) {
    const f = s * e[i]!
    const b = c * e[i]!
    const r = Math.hypot(f, g)
    e[i + 1] = r
    if (r === 0) {
      d[i + 1]! -= p
      e[end] = 0
      return
    }
    s = f / r
    c = g / r
    g = d[i + 1]! - p
    const t = (d[i]! - g) * s + 2 * c * b
    p = s * t
    d[i + 1] = g + p
    g = c * t - b
    for (const z of rows) {
      const above = z[i + 1]!
      z[i + 1] = s * z[i]! + c * above
      z[i] = c * z[i]! - s * above
    }
  }
  d[l]! -= p
  e[l] = g
  e[end] = 0
}

/** T with A Q = Q T + residual q e^T; `residual` is 0 if the basis Q spans an invariant subspace. */
export interface LanczosResult extends Tridiagonal {
  readonly residual: number
}

/** Ratio of beta to the largest element of T below which the basis spans an invariant subspace. */
const breakdownTolerance = 1e-12

/**
 * The Lanczos recurrence with full reorthogonalization (Golub and Van Loan, Matrix Computations, section 10.3):
 *
 *     w = A q_j,  alpha_j = q_j^T w,  w <- w - Q Q^T w,  beta_j = ||w||,  q_j+1 = w / beta_j,
 *
 * with T = tridiag(beta, alpha, beta) and A Q = Q T + beta q e^T. Every new vector is orthogonalized twice against all
 * previous ones, so that no eigenvalue appears in copies. The basis takes `size` doubles per step. If it spans an
 * invariant subspace, the recurrence continues with a random orthogonal vector.
 * @param start a vector of non-zero norm
 * @param random source of the random orthogonal vectors
 * @param over called after each step; returns true to stop
 */
export async function lanczos(
  operator: SymmetricOperator,
  start: ParameterVector,
  random: Random,
  steps: number,
  over: (krylov: LanczosResult) => boolean = () => false,
): Promise<LanczosResult> {
  const most = Math.min(steps, operator.size)
  const basis: ParameterVector[] = [scale(1 / norm(start), start)]
  const [diagonal, offDiagonal]: [number[], number[]] = [[], []]
  let magnitude = 0
  for (;;) {
    const q = basis.at(-1)!
    const w = await operator.times(q)
    const alpha = dot(q, w)
    diagonal.push(alpha)
    orthogonalize(w, basis)
    const beta = norm(w)
    magnitude = Math.max(magnitude, Math.abs(alpha), beta)
    const spans = basis.length === operator.size || beta <= breakdownTolerance * magnitude
    const krylov = { diagonal, offDiagonal, residual: spans ? 0 : beta }
    if (diagonal.length === most || over(krylov)) return krylov
    offDiagonal.push(krylov.residual)
    basis.push(spans ? randomOrthogonal(basis, random) : scale(1 / beta, w))
  }
}

/** w <- w - Q Q^T w, twice: a single pass leaves an error proportional to the removed part (Giraud et al. 2005). */
function orthogonalize(w: ParameterVector, basis: readonly ParameterVector[]): void {
  for (let time = 0; time < 2; time++) for (const q of basis) addScaled(w, -dot(q, w), q)
}

function randomOrthogonal(basis: readonly ParameterVector[], random: Random): ParameterVector {
  const w = random.fill(new Float64Array(basis[0]!.length), 'normal')
  orthogonalize(w, basis)
  return scale(1 / norm(w), w)
}
