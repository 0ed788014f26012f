import type { Random } from '../../util/random.js'
import type { SymmetricOperator } from './symmetric.js'
import type { Tridiagonal } from './tridiagonal.js'
import { addScaled, dot, norm, scaled, type Vector } from './vector.js'

/** A is close to T on the basis that was built; `residual` couples it to the rest, 0 where nothing is left. */
export interface Krylov extends Tridiagonal {
  readonly residual: number
}

/** Beside the matrix's largest elements so little is nothing: the basis spans an invariant subspace. */
const nothing = 1e-12

/**
 * The Lanczos recurrence with full reorthogonalisation (Golub and Van Loan, section 10.3): A Q = Q T + beta q e^T. Every new
 * vector is made orthogonal to all before it, twice, so that no eigenvalue appears in copies; the basis is held in memory,
 * `size` doubles per step. Where the basis spans an invariant subspace, it goes on from a random vector outside of it.
 * @param start of any length but 0
 * @param random draws what it goes on from
 * @param over asked after each step, with what there is, whether that is enough
 */
export async function lanczos(
  operator: SymmetricOperator,
  start: Vector,
  random: Random,
  steps: number,
  over: (krylov: Krylov) => boolean = () => false,
): Promise<Krylov> {
  const most = Math.min(steps, operator.size)
  const basis: Vector[] = [scaled(1 / norm(start), start)]
  const [diagonal, offDiagonal]: [number[], number[]] = [[], []]
  let scale = 0
  for (;;) {
    const q = basis.at(-1)!
    const w = await operator.times(q)
    const alpha = dot(q, w)
    diagonal.push(alpha)
    orthogonalise(w, basis)
    const beta = norm(w)
    scale = Math.max(scale, Math.abs(alpha), beta)
    const spans = basis.length === operator.size || beta <= nothing * scale
    const krylov = { diagonal, offDiagonal, residual: spans ? 0 : beta }
    if (diagonal.length === most || over(krylov)) return krylov
    offDiagonal.push(krylov.residual)
    basis.push(spans ? outside(basis, random) : scaled(1 / beta, w))
  }
}

/** w <- w - Q Q^T w, twice: once leaves an error in proportion to what was removed (Giraud et al. 2005). */
function orthogonalise(w: Vector, basis: readonly Vector[]): void {
  for (let time = 0; time < 2; time++) for (const q of basis) addScaled(w, -dot(q, w), q)
}

function outside(basis: readonly Vector[], random: Random): Vector {
  const w = random.fill(new Float64Array(basis[0]!.length), 'normal')
  orthogonalise(w, basis)
  return scaled(1 / norm(w), w)
}
