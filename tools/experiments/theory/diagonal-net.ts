import type { ParameterArrays } from 'onnx-ire'
import type { Random } from 'onnx-ire/data'
import { solveLinear } from '../statistics.js'
import type { Point } from '../step.js'
import type { Problem } from './problem.js'

/** Numbers of examples and features: the manifold has 2 features - examples dimensions. */
export const [examples, features] = [6, 12]

interface DiagonalNet extends Problem {
  /** Adds kappa times the component of the displacement along the manifold at the nearest minimum. */
  enhanced(kappa: number): (at: Point, displacement: Point) => void
}

/**
 * A diagonal linear network, f(x) = <x, u^2 - v^2>, with the squared error sum_i (f(x_i) - y_i)^2 / (2 n) of fewer
 * examples than features: every (u, v) with f(x_i) = y_i is a minimum, of Hessian J^T J / n with J_i = 2 (x_i u, -x_i
 * v). The data are sampled with the seed of the start and scaled so that the largest eigenvalue at the start is 2.
 */
export function diagonalNet(): DiagonalNet {
  let x: Float64Array[] = []
  let y: number[] = []

  const residuals = ({ u, v }: ParameterArrays) =>
    x.map((row, i) => row.reduce((sum, xj, j) => sum + xj * (u![j]! ** 2 - v![j]! ** 2), 0) - y[i]!)
  /** Rows of J, with u before v. */
  const jacobian = ({ u, v }: ParameterArrays) =>
    x.map((row) =>
      Float64Array.from(
        { length: 2 * features },
        (_, c) => 2 * (c < features ? row[c]! * u![c]! : -row[c - features]! * v![c - features]!),
      ),
    )
  const gram = (J: readonly Float64Array[]) => J.map((a) => J.map((b) => dot(a, b)))

  /** Nearest minimum, by Gauss-Newton steps: theta <- theta - J^T (J J^T)^-1 r. */
  const nearest = (from: ParameterArrays): Point => {
    const at: Point = { u: Float64Array.from(from['u']!), v: Float64Array.from(from['v']!) }
    for (let i = 0; i < 4; i++) {
      const J = jacobian(at)
      const r = residuals(at)
      const c = solveLinear(gram(J).map((row, k) => [...row, r[k]!]))
      across(at, J, c, -1)
    }
    return at
  }

  return {
    name: 'diagonal linear net',
    gamma: 1 - (examples + 1.5) / (2 * features),
    start(random: Random) {
      x = Array.from({ length: examples }, () => random.fill(new Float64Array(features), 'normal'))
      const around = () => Float64Array.from({ length: features }, () => 1 + 0.5 * (2 * random.uniform() - 1))
      const at = { u: around(), v: around() }
      const scale = Math.sqrt(2 / (largestEigenvalue(gram(jacobian(at))) / examples))
      for (const row of x) for (let j = 0; j < features; j++) row[j]! *= scale
      y = new Array<number>(examples).fill(0)
      y = residuals(at)
      for (const part of [at.u, at.v]) for (let j = 0; j < features; j++) part[j] = part[j]! + 1e-5 * random.normal()
      return at
    },
    gradient(at) {
      const g = new Float64Array(2 * features)
      const r = residuals(at)
      for (const [i, row] of jacobian(at).entries())
        for (let c = 0; c < g.length; c++) g[c] = g[c]! + (r[i]! * row[c]!) / examples
      return { u: g.slice(0, features), v: g.slice(features) }
    },
    curvature(at, random) {
      // H = J^T J / n + diag(2 sum_i r_i x_i, -2 sum_i r_i x_i) / n
      const z = random.fill(new Float64Array(2 * features), 'sign')
      const r = residuals(at)
      const h = new Float64Array(2 * features)
      for (const [i, row] of jacobian(at).entries()) {
        const along = dot(row, z)
        for (let c = 0; c < h.length; c++) {
          const second = 2 * r[i]! * x[i]![c % features]! * (c < features ? 1 : -1)
          h[c] = h[c]! + (z[c]! * (along * row[c]! + second * z[c]!)) / examples
        }
      }
      return { u: h.slice(0, features), v: h.slice(features) }
    },
    sharpness: (at) => largestEigenvalue(gram(jacobian(nearest(at)))) / examples,
    enhanced: (kappa) => (at, displacement) => {
      const J = jacobian(nearest(at))
      const d = Float64Array.of(...displacement['u']!, ...displacement['v']!)
      const c = solveLinear(gram(J).map((row, k) => [...row, dot(J[k]!, d)]))
      // d + kappa (d - J^T (J J^T)^-1 J d)
      for (const part of Object.values(displacement)) for (let j = 0; j < features; j++) part[j]! *= 1 + kappa
      across(displacement, J, c, -kappa)
    },
  }
}

/** point <- point + factor J^T c */
function across(point: Point, J: readonly Float64Array[], c: readonly number[], factor: number): void {
  const { u, v } = point
  for (const [k, row] of J.entries())
    for (let j = 0; j < features; j++) {
      u![j]! += factor * c[k]! * row[j]!
      v![j]! += factor * c[k]! * row[features + j]!
    }
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/** Largest eigenvalue of a positive semidefinite matrix, by power iteration on its 64th power. */
export function largestEigenvalue(matrix: readonly (readonly number[])[]): number {
  let power = matrix.map((row) => [...row])
  for (let i = 0; i < 6; i++) {
    const scale = Math.max(...power.flat().map(Math.abs))
    power = power.map((row) =>
      power[0]!.map((_, j) => row.reduce((sum, value, k) => sum + (value / scale) * (power[k]![j]! / scale), 0)),
    )
  }
  let x = power.map((row) => row.reduce((sum, value, j) => sum + value * (1 + 0.1 * j), 0))
  for (let i = 0; i < 3; i++) {
    const size = Math.max(...x.map(Math.abs))
    const next = power.map((row) => dot(row, x) / size)
    x = next
  }
  const image = matrix.map((row) => dot(row, x))
  return dot(x, image) / dot(x, x)
}
