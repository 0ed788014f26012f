import type { ParameterArrays } from 'onnx-ire'
import type { Random } from 'onnx-ire/data'
import type { Gradients } from 'onnx-ire/optim'
import type { Point } from '../step.js'

/** A loss whose manifold of minima and their sharpness are known exactly. */
export interface Problem {
  readonly name: string
  /** The gamma for which exactly the directions of the manifold are flat; the k-th largest curvature counts as flat. */
  readonly gamma: number
  /** A point of the manifold, and a point close to it. */
  start(random: Random): Point
  gradient(at: ParameterArrays): Gradients
  /** v * Hv for random signs v, at a point near the manifold. */
  curvature(at: ParameterArrays, random: Random): Gradients
  /** Sharpness of the minimum at the end of the gradient flow from a point, to first order. */
  sharpness(at: ParameterArrays): number
}

/**
 * L(u, v) = sum_j (1 + |u_j|^2) v_j^2 / 2, u_j of `along` coordinates each: the minima are v = 0, of Hessian
 * eigenvalues s_j = scale_j (1 + |u_j|^2) across the manifold and 0 along it.
 * @param measure the kind of sharpness: full-batch SAM lowers the largest eigenvalue, average SAM the trace
 */
export function valleys(name: string, scales: readonly number[], along: number, measure: 'largest' | 'trace'): Problem {
  const m = scales.length
  const total = m * (along + 1)
  const eigenvalues = (u: ArrayLike<number>) =>
    scales.map((scale, j) => {
      let square = 0
      for (let i = 0; i < along; i++) square += u[j * along + i]! ** 2
      return scale * (1 + square)
    })
  return {
    name,
    // k = m + 1: the m eigenvalues across the manifold are larger than the k-th largest. Half a coordinate is added
    // against rounding.
    gamma: Math.max(0, 1 - (m + 1.5) / total),
    start(random) {
      const u = new Float64Array(m * along)
      // |u_j| = 1, up to 10 %
      for (let i = 0; i < u.length; i++) u[i] = (1 + 0.1 * (2 * random.uniform() - 1)) / Math.sqrt(along)
      const v = new Float64Array(m)
      for (let j = 0; j < m; j++) v[j] = 1e-5 * random.normal()
      return { u, v }
    },
    gradient({ u, v }) {
      const s = eigenvalues(u!)
      const du = new Float64Array(u!.length)
      const dv = new Float64Array(m)
      for (let j = 0; j < m; j++) {
        dv[j] = s[j]! * v![j]!
        for (let i = j * along; i < (j + 1) * along; i++) du[i] = scales[j]! * u![i]! * v![j]! ** 2
      }
      return { u: du, v: dv }
    },
    curvature({ u, v }, random) {
      const s = eigenvalues(u!)
      const a = random.fill(new Float64Array(u!.length), 'sign')
      const b = random.fill(new Float64Array(m), 'sign')
      const du = new Float64Array(u!.length)
      const dv = new Float64Array(m)
      for (let j = 0; j < m; j++) {
        dv[j] = s[j]! * b[j]!
        for (let i = j * along; i < (j + 1) * along; i++) {
          const mixed = 2 * scales[j]! * u![i]! * v![j]!
          du[i] = a[i]! * (scales[j]! * v![j]! ** 2 * a[i]! + mixed * b[j]!)
          dv[j] = dv[j]! + mixed * a[i]!
        }
        dv[j] = dv[j]! * b[j]!
      }
      return { u: du, v: dv }
    },
    sharpness({ u }) {
      const s = eigenvalues(u!)
      return measure === 'largest' ? Math.max(...s) : s.reduce((sum, x) => sum + x, 0)
    },
  }
}
