import { checkNumber, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { eigenDecomposition, type LanczosResult, lanczos, type SymmetricOperator } from './lanczos.js'

/** Options of `topEigenvalues`. */
export interface EigenvalueOptions {
  /** Number of largest eigenvalues. Default 5. */
  readonly count?: number
  /** Stop when all bounds are at most this fraction of the largest magnitude. Default 1e-4. */
  readonly tolerance?: number
  /** Maximal number of products, and of vectors of the matrix's size in memory. Default 100. */
  readonly steps?: number
}

/** An eigenvalue with an error bound. */
export interface Eigenvalue {
  readonly value: number
  /** The matrix has an eigenvalue within this distance of `value`. */
  readonly bound: number
}

/** Result of `topEigenvalues`. */
export interface Eigenvalues {
  /** The algebraically largest, descending. */
  readonly largest: readonly Eigenvalue[]
  /** The smallest eigenvalue, negative away from a minimum. Its bound is no stopping criterion. */
  readonly smallest: Eigenvalue
  readonly steps: number
  /** Whether the tolerance was reached. */
  readonly converged: boolean
}

/**
 * The largest eigenvalues by the Lanczos method from a random vector. For each eigenvalue theta_i of T, with
 * eigenvector s_i, the matrix has an eigenvalue within beta |s_mi| (Parlett 1998, section 13.2). The bounds do not
 * include the error of the products, about 1e-6 of the largest eigenvalue in float32. One copy of a multiple eigenvalue
 * is found, unless the steps exhaust the matrix.
 * @throws OnnxIreError `invalid-option`
 */
export async function topEigenvalues(
  operator: SymmetricOperator,
  random: Random,
  { count = 5, tolerance = 1e-4, steps = 100 }: EigenvalueOptions = {},
): Promise<Eigenvalues> {
  checkNumber('eigenvalues', 'count', count, positiveCount)
  checkNumber('eigenvalues', 'steps', steps, positiveCount)
  checkNumber('eigenvalues', 'tolerance', tolerance, { min: 0, max: Number.MAX_VALUE })
  const requested = Math.min(count, operator.size)
  const start = random.fill(new Float64Array(operator.size), 'normal')
  const isAccurate = (krylov: LanczosResult) => {
    const { largest, scale } = extremes(krylov, requested)
    return largest.length === requested && largest.every(({ bound }) => bound <= tolerance * scale)
  }
  const krylov = await lanczos(operator, start, random, Math.max(steps, requested), isAccurate)
  const { largest, smallest } = extremes(krylov, requested)
  return { largest, smallest, steps: krylov.diagonal.length, converged: isAccurate(krylov) }
}

function extremes(krylov: LanczosResult, requested: number) {
  const { values, last } = eigenDecomposition(krylov)
  const all = values.map((value, i): Eigenvalue => ({ value, bound: krylov.residual * Math.abs(last[i]!) }))
  const [smallest, ...rest] = all
  const scale = Math.max(Math.abs(values[0]!), Math.abs(values.at(-1)!))
  return { largest: (rest.length < requested ? all : rest).slice(-requested).reverse(), smallest: smallest!, scale }
}
