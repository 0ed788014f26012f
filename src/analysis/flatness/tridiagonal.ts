/** A symmetric tridiagonal matrix: its diagonal, and the off-diagonal, one shorter. */
export interface Tridiagonal {
  readonly diagonal: readonly number[]
  readonly offDiagonal: readonly number[]
}

export interface TridiagonalEigen {
  /** Ascending. */
  readonly values: readonly number[]
  /** The first and the last component of each unit eigenvector. */
  readonly first: readonly number[]
  readonly last: readonly number[]
}

/**
 * Eigenvalues by the implicit QL algorithm with Wilkinson's shift (Dubrulle, Martin and Wilkinson 1968; EISPACK imtql2). Of
 * the eigenvectors only two rows are carried along, all that a quadrature and error bounds need: O(m^2) in all.
 */
export function eigenOf({ diagonal, offDiagonal }: Tridiagonal): TridiagonalEigen {
  const m = diagonal.length
  const d = Float64Array.from(diagonal)
  const e = new Float64Array(m)
  e.set(offDiagonal.slice(0, m - 1))
  const first = new Float64Array(m)
  const last = new Float64Array(m)
  first[0] = 1
  last[m - 1] = 1
  for (let l = 0; l < m; l++) {
    for (let end = splitAt(d, e, l); end > l; end = splitAt(d, e, l)) sweep(d, e, l, end, [first, last])
  }
  const order = Array.from(d.keys()).sort((a, b) => d[a]! - d[b]!)
  const sorted = (array: Float64Array) => order.map((i) => array[i]!)
  return { values: sorted(d), first: sorted(first), last: sorted(last) }
}

/** The first row from `l` on behind which the matrix falls apart. */
function splitAt(d: Float64Array, e: Float64Array, l: number): number {
  let i = l
  while (i < d.length - 1 && Math.abs(e[i]!) > Number.EPSILON * (Math.abs(d[i]!) + Math.abs(d[i + 1]!))) i++
  return i
}

/** One implicit QL step on rows l to end, its rotations applied to `rows` of the eigenvectors. */
function sweep(d: Float64Array, e: Float64Array, l: number, end: number, rows: readonly Float64Array[]): void {
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
