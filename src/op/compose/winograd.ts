import { constant, internConstant, tensorFrom } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'
import type { WindowAxis } from '../window.js'
import { swapFirst } from './shape.js'

/*
 * The minimal filtering algorithm F(m x m, 3 x 3) (Winograd 1980; Lavin and Gray 2016) computes a tile of m x m windows
 * with (m + 2)^2 instead of 9 m^2 products: y = A^T ((G w G^T) * (B x B^T)) A with x a tile of m + 2 rows and columns.
 * It is bilinear, so dw = G^T (sum over tiles of (A dy A^T) * (B x B^T)) G.
 */
const KERNEL = 3

/**
 * Points of interpolation by m; infinity is another one. Rounding errors were measured: 5e-7 of the largest result for
 * m = 2, as for the direct sum, and 2e-6 for m = 4 (6e-6 with the points 2 and -2).
 */
const POINTS = { 2: [0, 1, -1], 4: [0, 1, -1, 0.5, -2] } as const

/** Windows along each side of a tile. */
type TileSide = keyof typeof POINTS

type Matrix = readonly (readonly number[])[]

/** The matrices of F(m, 3) as polynomials: products of values at the points interpolate the correlation. */
function matricesOf(m: TileSide): { readonly a: Matrix; readonly b: Matrix; readonly g: Matrix } {
  const points: readonly number[] = POINTS[m]
  const powers = (n: number) => (point: number) => Array.from({ length: n }, (_, i) => point ** i)
  const last = (n: number) => Array.from({ length: n }, (_, i) => Number(i === n - 1))
  /** Coefficients of the product of (x - root), lowest first. */
  const polynomial = (roots: readonly number[]) =>
    roots.reduce<readonly number[]>(
      (p, root) => Array.from({ length: p.length + 1 }, (_, i) => (p[i - 1] ?? 0) - root * (p[i] ?? 0)),
      [1],
    )
  const others = points.map((point) => points.filter((other) => other !== point))
  const weights = points.map((point, i) => others[i]!.reduce((product, other) => product * (point - other), 1))
  return {
    a: [...points.map(powers(m)), last(m)],
    b: [...others.map((roots) => [...polynomial(roots), 0]), polynomial(points)],
    g: [...points.map((point, i) => powers(KERNEL)(point).map((x) => x / weights[i]!)), last(KERNEL)],
  }
}

/** All products of two rows of a matrix M: row (i, j) maps a matrix X to element (i, j) of M X M^T. */
const pairsOfRows = (m: TileSide, name: 'a' | 'b' | 'g', middle: readonly number[] = []): Value =>
  internConstant(`winograd ${m} ${name}`, () => {
    const rows = matricesOf(m)[name]
    const pairs = rows.flatMap((r) => rows.flatMap((s) => r.flatMap((x) => s.map((y) => x * y))))
    const columns = rows[0]!.length
    const shape = name === 'g' ? [rows.length ** 2, columns ** 2] : [rows.length ** 2, ...middle, columns, columns]
    return constant(tensorFrom('float32', shape, pairs))
  })

const productsOf = (m: TileSide): number => (m + KERNEL - 1) ** 2

/** Images of at least this height and width are divided into tiles of 4 x 4 windows: 0.6 to 0.9 of the time of 2 x 2. */
const LONG = 8

const tileSideOf = (windows: readonly number[]): TileSide => (windows.every((length) => length >= LONG) ? 4 : 2)

/**
 * Measured on onnxruntime's CPU provider: with fewer channels of x, or more channels of dy for each of them, the tiles
 * cost more than the products they save; with smaller images writing the products of each weight does.
 */
const MIN_CHANNELS = 12
const MAX_OUTPUTS_PER_CHANNEL = 4
const MIN_LENGTH = 4

/** Whether tiles are the fastest form of the gradient of convolution weights. */
export function hasTiles(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): boolean {
  if (x.dtype !== 'float32' || group !== 1 || window.length !== 2 || !isStatic(w.shape)) return false
  const [outputs, channels] = w.shape as readonly [number, number]
  return (
    window.every(({ kernel, stride, dilation }) => kernel === KERNEL && stride === 1 && dilation === 1) &&
    [x, dy].every(({ shape }) => shape!.slice(2).every((length) => typeof length === 'number')) &&
    dy.shape!.slice(2).every((length) => (length as number) >= MIN_LENGTH) &&
    channels >= MIN_CHANNELS &&
    outputs <= MAX_OUTPUTS_PER_CHANNEL * channels
  )
}

/** Gradient of the weights [O, C, 3, 3] of a Conv with stride 1, without groups. */
export function weightGradientByTiles(x: Value, w: Value, dy: Value, window: readonly WindowAxis[]): Value {
  const lengths = dy.shape!.slice(2) as readonly number[]
  const m = tileSideOf(lengths)
  const rests = lengths.map((length) => (m - (length % m)) % m)
  const before = window.map((axis) => axis.before as number)
  const after = window.map((axis, i) => (axis.after as number) + rests[i]!)
  const [outputs, channels] = w.shape as readonly [number, number]
  const ofX = tiles(x, channels, m, 'b', before, after)
  const ofDy = tiles(dy, outputs, m, 'a', [0, 0], rests)
  const products = op.MatMul(ofDy, op.Transpose(ofX, { perm: [0, 2, 1] }))
  const dw = op.Gemm(op.Reshape(products, [productsOf(m), -1]), pairsOfRows(m, 'g'), { transA: 1 })
  return op.Reshape(dw, w.shape as readonly number[])
}

/**
 * Transformed tiles of images [N, C, H, W]: [products, C, N tiles]. All channels of all images are one image of a single
 * channel, so that one Conv writes them in the order of the matrix products.
 */
function tiles(
  images: Value,
  channels: number,
  m: TileSide,
  matrix: 'a' | 'b',
  before: readonly number[],
  after: readonly number[],
): Value {
  const lengths = images.shape!.slice(2) as readonly number[]
  const y = op.Conv(op.Reshape(swapFirst(images), [1, 1, -1, ...lengths]), pairsOfRows(m, matrix, [1, 1]), {
    strides: [1, m, m],
    pads: [0, ...before, 0, ...after],
  })
  return op.Reshape(y, [productsOf(m), channels, -1])
}
