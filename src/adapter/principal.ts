import { Random } from '../util/random.js'

/** The largest singular values of a matrix with their vectors: W is nearly the sum of s_i u_i v_i^T. */
export interface Principal {
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
export function principalVectors(w: Float64Array, rows: number, columns: number, count: number): Principal {
  const size = Math.min(count + extra, rows, columns)
  const random = new Random(0).stream('principal')
  let right = orthonormalize(Array.from({ length: size }, () => random.fill(new Float64Array(columns), 'normal')))
  let found: Principal = { values: [], left: [], right: [] }
  for (let pass = 0; pass < maxPasses; pass++) {
    const left = orthonormalize(right.map((v) => multiply(w, rows, columns, v)))
    const images = left.map((u) => multiplyTransposed(w, rows, columns, u))
    const next = rotate(left, images)
    const change = next.values.map((value, i) => Math.abs(value - (found.values[i] ?? 0)))
    found = next
    if (pass > 0 && Math.max(...change.slice(0, count)) <= tolerance * next.values[0]!) break
    right = orthonormalize(images)
  }
  const first = <T>(all: readonly T[]) => all.slice(0, count)
  return { values: first(found.values), left: first(found.left), right: first(found.right) }
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
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

const combine = (vectors: readonly Float64Array[], factors: readonly number[]): Float64Array => {
  const sum = new Float64Array(vectors[0]!.length)
  for (const [k, vector] of vectors.entries()) for (let i = 0; i < sum.length; i++) sum[i]! += factors[k]! * vector[i]!
  return sum
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

/** The singular vectors within a subspace: of the rows of `images` = `left`^T W. */
function rotate(left: readonly Float64Array[], images: readonly Float64Array[]): Principal {
  const { values, vectors } = diagonalize(images.map((a) => images.map((b) => dot(a, b))))
  const order = values.map((_, i) => i).sort((a, b) => values[b]! - values[a]!)
  const found = order.map((k) => {
    const factors = vectors.map((row) => row[k]!)
    const s = Math.sqrt(Math.max(0, values[k]!))
    const image = combine(images, factors)
    return { s, left: combine(left, factors), right: s > 0 ? image.map((x) => x / s) : image }
  })
  return {
    values: found.map(({ s }) => s),
    left: found.map((each) => each.left),
    right: found.map((each) => each.right),
  }
}

/** Eigenvalues of a symmetric matrix, and their vectors as columns, by Jacobi's rotations. */
function diagonalize(matrix: readonly number[][]): { readonly values: number[]; readonly vectors: number[][] } {
  const a = matrix.map((row) => [...row])
  const n = a.length
  const vectors = a.map((_, i) => a.map((_, j) => Number(i === j)))
  const turn = (rows: number[][], p: number, q: number, c: number, s: number) => {
    for (const row of rows) [row[p], row[q]] = [c * row[p]! - s * row[q]!, s * row[p]! + c * row[q]!]
  }
  for (let sweep = 0; sweep < 50; sweep++) {
    let largest = 0
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const size = Math.abs(a[p]![q]!)
        if (size <= 1e-16 * Math.sqrt(Math.abs(a[p]![p]! * a[q]![q]!))) continue
        largest = Math.max(largest, size)
        const theta = (a[q]![q]! - a[p]![p]!) / (2 * a[p]![q]!)
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1))
        const c = 1 / Math.hypot(t, 1)
        turn(a, p, q, c, t * c)
        const [rowP, rowQ] = [a[p]!, a[q]!]
        a[p] = rowP.map((x, j) => c * x - t * c * rowQ[j]!)
        a[q] = rowP.map((x, j) => t * c * x + c * rowQ[j]!)
        turn(vectors, p, q, c, t * c)
      }
    if (largest === 0) break
  }
  return { values: a.map((row, i) => row[i]!), vectors }
}
