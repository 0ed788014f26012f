import { dot } from '../ir/float-array.js'
import { Random } from '../util/random.js'

/** The largest singular values of a matrix with their vectors: W is nearly the sum of s_i u_i v_i^T. */
interface SingularVectors {
  /** Descending. */
  readonly values: readonly number[]
  /** Left singular vectors, each of `rows` elements. */
  readonly left: readonly Float64Array[]
  /** Right singular vectors, each of `columns` elements. */
  readonly right: readonly Float64Array[]
}

/** Vectors that are iterated beside the wanted ones, so that those converge faster. */
const extra = 8
const maxPasses = 20
const tolerance = 1e-6

/**
 * Computes the largest singular values of a matrix [rows, columns] and their vectors by subspace iteration from seeded
 * random vectors, until the values change by less than a millionth of the largest, or 20 passes. Vectors of values that
 * are nearly equal may be mixed.
 */
export function computeSingularVectors(w: Float64Array, rows: number, columns: number, count: number): SingularVectors {
  const size = Math.min(count + extra, rows, columns)
  const random = new Random(0).stream('principal')
  let right: readonly Float64Array[] = Array.from({ length: size }, () =>
    random.fill(new Float64Array(columns), 'normal'),
  )
  let found: SingularVectors = { values: [], left: [], right: [] }
  for (let pass = 0; pass < maxPasses; pass++) {
    const left = orthonormalize(right.map((v) => multiply(w, rows, columns, v)))
    const images = left.map((u) => multiplyTransposed(w, rows, columns, u))
    const next = rotate(left, images)
    const change = next.values.map((value, i) => Math.abs(value - (found.values[i] ?? 0)))
    found = next
    if (pass > 0 && Math.max(...change.slice(0, count)) <= tolerance * next.values[0]!) break
    right = next.right
  }
  const first = <T>(all: readonly T[]) => all.slice(0, count)
  return { values: first(found.values), left: first(found.left), right: first(found.right) }
}

function multiply(w: Float64Array, rows: number, columns: number, v: Float64Array): Float64Array {
  return Float64Array.from({ length: rows }, (_, i) => dot(w.subarray(i * columns, (i + 1) * columns), v))
}

function multiplyTransposed(w: Float64Array, rows: number, columns: number, u: Float64Array): Float64Array {
  const result = new Float64Array(columns)
  for (let i = 0; i < rows; i++) {
    const [factor, at] = [u[i]!, i * columns]
    for (let j = 0; j < columns; j++) result[j]! += factor * w[at + j]!
  }
  return result
}

/** Gram-Schmidt, twice for accuracy. A vector that depends on earlier ones becomes 0. */
function orthonormalize(vectors: readonly Float64Array[]): Float64Array[] {
  const basis: Float64Array[] = []
  for (const vector of vectors) {
    const start = Math.sqrt(dot(vector, vector))
    let rest = vector
    for (let repeat = 0; repeat < 2; repeat++)
      for (const each of basis) {
        const share = dot(rest, each)
        rest = rest.map((x, i) => x - share * each[i]!)
      }
    const length = Math.sqrt(dot(rest, rest))
    basis.push(length > 1e-12 * start ? rest.map((x) => x / length) : new Float64Array(vector.length))
  }
  return basis
}

/**
 * The singular vectors within a subspace, of the rows of `images` = `left`^T W: rotates pairs of them until they are
 * orthogonal (Jacobi), and `left` in the same way.
 */
function rotate(left: readonly Float64Array[], images: readonly Float64Array[]): SingularVectors {
  for (let sweep = 0, isDone = false; sweep < 50 && !isDone; sweep++) {
    isDone = true
    for (let p = 0; p < images.length; p++)
      for (let q = p + 1; q < images.length; q++) {
        const [a, b] = [images[p]!, images[q]!]
        const [squareA, squareB, product] = [dot(a, a), dot(b, b), dot(a, b)]
        if (Math.abs(product) <= 1e-14 * Math.sqrt(squareA * squareB)) continue
        isDone = false
        const zeta = (squareB - squareA) / (2 * product)
        const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.hypot(zeta, 1))
        const c = 1 / Math.hypot(t, 1)
        for (const [x, y] of [[a, b] as const, [left[p]!, left[q]!] as const])
          for (let i = 0; i < x.length; i++) [x[i], y[i]] = [c * (x[i]! - t * y[i]!), c * (t * x[i]! + y[i]!)]
      }
  }
  const found = left
    .map((u, k) => ({ u, v: images[k]!, value: Math.sqrt(dot(images[k]!, images[k]!)) }))
    .sort((a, b) => b.value - a.value)
  return {
    values: found.map(({ value }) => value),
    left: found.map(({ u }) => u),
    right: found.map(({ v, value }) => v.map((x) => x / (value || 1))),
  }
}
