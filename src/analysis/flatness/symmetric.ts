import type { Vector } from './vector.js'

/** A real symmetric matrix of which only products with vectors are known, as of a Hessian. */
export interface SymmetricOperator {
  /** Rows, and columns. */
  readonly size: number
  /** A v, a new vector. */
  times(v: Vector): Promise<Vector>
}
