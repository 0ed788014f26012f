import { checkNumber, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { type Krylov, lanczos } from './lanczos.js'
import type { SymmetricOperator } from './symmetric.js'
import { eigenOf } from './tridiagonal.js'

/** How many eigenvalues, and how exactly. */
export interface EigenvalueOptions {
  /** How many of the largest. Default 5. */
  readonly count?: number
  /** Stops once all bounds are at most this share of the largest magnitude. Default 1e-4. */
  readonly tolerance?: number
  /** Products at most. As many vectors of the matrix's size are held in memory. Default 100. */
  readonly steps?: number
}

/** One eigenvalue with its bound. */
export interface Eigenvalue {
  readonly value: number
  /** An eigenvalue lies within so much of `value`. */
  readonly bound: number
}

/** The largest eigenvalues that were found. */
export interface Eigenvalues {
  /** The algebraically largest, descending. */
  readonly largest: readonly Eigenvalue[]
  /** The smallest, negative away from a minimum; it has no part in when to stop. */
  readonly smallest: Eigenvalue
  readonly steps: number
  /** Whether the tolerance was reached. */
  readonly converged: boolean
}

/**
 * The largest eigenvalues by Lanczos from a random vector. Each Ritz value theta_i, with s_i its eigenvector of T, has an
 * eigenvalue within beta |s_mi| (Parlett 1998, section 13.2). The bounds are for products as they are computed: in float32
 * those themselves are good to about 1e-6 of the largest. Of an eigenvalue that comes several times one copy is found,
 * unless the steps exhaust the matrix.
 * @throws 'invalid-option'
 */
export async function topEigenvalues(
  operator: SymmetricOperator,
  random: Random,
  { count = 5, tolerance = 1e-4, steps = 100 }: EigenvalueOptions = {},
): Promise<Eigenvalues> {
  checkNumber('eigenvalues', 'count', count, positiveCount)
  checkNumber('eigenvalues', 'steps', steps, positiveCount)
  checkNumber('eigenvalues', 'tolerance', tolerance, { min: 0, max: Number.MAX_VALUE })
  const wanted = Math.min(count, operator.size)
  const start = random.fill(new Float64Array(operator.size), 'normal')
  const met = (krylov: Krylov) => {
    const { largest, scale } = extremes(krylov, wanted)
    return largest.length === wanted && largest.every(({ bound }) => bound <= tolerance * scale)
  }
  const krylov = await lanczos(operator, start, random, Math.max(steps, wanted), met)
  const { largest, smallest } = extremes(krylov, wanted)
  return { largest, smallest, steps: krylov.diagonal.length, converged: met(krylov) }
}

function extremes(krylov: Krylov, wanted: number) {
  const { values, last } = eigenOf(krylov)
  const all = values.map((value, i): Eigenvalue => ({ value, bound: krylov.residual * Math.abs(last[i]!) }))
  const [smallest, ...rest] = all
  const scale = Math.max(Math.abs(values[0]!), Math.abs(values.at(-1)!))
  return { largest: (rest.length < wanted ? all : rest).slice(-wanted).reverse(), smallest: smallest!, scale }
}
