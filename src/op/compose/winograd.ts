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
const kernelSide = 3

/**
 * Points of interpolation by m; infinity is another one. Rounding errors were measured: 5e-7 of the largest result for
 * m = 2, as for the direct sum, and 2e-6 for m = 4 (6e-6 with the points 2 and -2).
 */
const interpolationPoints = { 2: [0, 1, -1], 4: [0, 1, -1, 0.5, -2] } as const

/** Windows along each side of a tile. */
type TileSide = keyof typeof interpolationPoints

type Matrix = readonly (readonly number[])[]

/** The matrices of F(m, 3) as polynomials: products of values at the points interpolate the correlation. */
function matricesOf(m: TileSide): { readonly a: Matrix; readonly b: Matrix; readonly g: Matrix } {
  const points: readonly number[] = interpolationPoints[m]
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
    g: [...points.map((point, i) => powers(kernelSide)(point).map((x) => x / weights[i]!)), last(kernelSide)],
  }
}

/** All products of two rows of a matrix M: row (i, j) maps a matrix X to element (i, j) of M X M^T. */
const pairsOfRows = (m: TileSide, name: 'a' | 'b' | 'g' | 'flipped g', middle: readonly number[] = []): Value =>
  internConstant(`winograd ${m} ${name} ${middle}`, () => {
    const { a, b, g } = matricesOf(m)
    const rows = { a, b, g, 'flipped g': g.map((row) => row.toReversed()) }[name]
    const pairs = rows.flatMap((r) => rows.flatMap((s) => r.flatMap((x) => s.map((y) => x * y))))
    const columns = rows[0]!.length
    const shape = name.endsWith('g')
      ? [rows.length ** 2, columns ** 2]
      : [rows.length ** 2, ...middle, columns, columns]
    return constant(tensorFrom('float32', shape, pairs))
  })

const productsOf = (m: TileSide): number => (m + kernelSide - 1) ** 2

/** Whether tiles compute a convolution with this kernel and this window: of 3x3 kernels, stride 1, without groups. */
function isFiltering(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): boolean {
  return (
    dy.dtype === 'float32' &&
    group === 1 &&
    window.length === 2 &&
    isStatic(w.shape) &&
    window.every(({ kernel, stride, dilation }) => kernel === kernelSide && stride === 1 && dilation === 1) &&
    [x, dy].every(({ shape }) => shape!.slice(2).every((length) => typeof length === 'number'))
  )
}

const lengthsOf = (x: Value) => x.shape!.slice(2) as readonly number[]
const channelsOf = (w: Value) => w.shape as readonly [outputs: number, channels: number, ...kernel: number[]]

// The thresholds were measured on onnxruntime's CPU provider.

/**
 * Images of at least this height and width are divided into tiles of 4 x 4 windows: 0.6 to 0.9 of the time of 2 x 2.
 */
const minLargeSide = 8
/**
 * With fewer channels of x, or more channels of dy for each of them, the tiles cost more than the products they save;
 * with smaller images writing the products of each weight does.
 */
const minChannels = 12
const maxOutputsPerChannel = 4
const minLength = 4

/** Whether tiles are the fastest form of the gradient of convolution weights. */
export function hasWeightTiles(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): boolean {
  if (!isFiltering(x, w, dy, window, group)) return false
  const [outputs, channels] = channelsOf(w)
  return (
    lengthsOf(dy).every((length) => length >= minLength) &&
    channels >= minChannels &&
    outputs <= maxOutputsPerChannel * channels
  )
}

/** Gradient of the weights [O, C, 3, 3] of a Conv with stride 1, without groups. */
export function weightGradientByTiles(x: Value, w: Value, dy: Value, window: readonly WindowAxis[]): Value {
  const lengths = lengthsOf(dy)
  const m = lengths.every((length) => length >= minLargeSide) ? 4 : 2
  const rests = restsOf(lengths, m)
  const before = window.map((axis) => axis.before as number)
  const after = window.map((axis, i) => (axis.after as number) + rests[i]!)
  const [outputs, channels] = channelsOf(w)
  const ofX = tiles(x, channels, m, 'b', before, after)
  const ofDy = tiles(dy, outputs, m, 'a', [0, 0], rests)
  const products = op.MatMul(ofDy, op.Transpose(ofX, { perm: [0, 2, 1] }))
  const dw = op.Gemm(op.Reshape(products, [productsOf(m), -1]), pairsOfRows(m, 'g'), { transA: 1 })
  return op.Reshape(dw, w.shape as readonly number[])
}

/** Number of windows that the last tiles have too many, along each axis. */
const restsOf = (lengths: readonly number[], m: TileSide) => lengths.map((length) => (m - (length % m)) % m)

/**
 * Side of the tiles that compute the gradient of a convolution's input in less time than a convolution with flipped
 * kernels, 0.6 to 0.9 of it; undefined if the convolution is faster. Transforming tiles takes time in proportion to all
 * channels, and the products that are saved are pairs of channels.
 */
export function inputTileSide(
  x: Value,
  w: Value,
  dy: Value,
  window: readonly WindowAxis[],
  group: number,
): TileSide | undefined {
  if (!isFiltering(x, w, dy, window, group)) return undefined
  const [outputs, channels] = channelsOf(w)
  const pairs = (outputs * channels) / (outputs + channels)
  if (pairs >= 42 && lengthsOf(x).every((length) => length >= 16)) return 4
  return pairs >= 64 ? 2 : undefined
}

/**
 * Gradient of the input of a Conv with stride 1, without groups.
 * @param x only its spatial lengths are used
 */
export function inputGradientByTiles(dy: Value, w: Value, window: readonly WindowAxis[], x: Value, m: TileSide): Value {
  const [outputs, channels] = channelsOf(w)
  const lengths = lengthsOf(x)
  const rests = restsOf(lengths, m)
  // Pads of the convolution of dy with flipped kernels.
  const before = window.map((axis) => kernelSide - 1 - (axis.before as number))
  const after = lengthsOf(dy).map((length, i) => lengths[i]! + rests[i]! + kernelSide - 1 - length - before[i]!)
  const kernels = op.Gemm(pairsOfRows(m, 'flipped g'), op.Reshape(w, [-1, kernelSide ** 2]), { transB: 1 })
  const ofW = op.Transpose(op.Reshape(kernels, [productsOf(m), outputs, channels]), { perm: [0, 2, 1] })
  return windowsOf(op.MatMul(ofW, tiles(dy, outputs, m, 'b', before, after)), channels, m, lengths)
}

/**
 * Windows [N, C, H, W] of the sums of products [products, C, N tiles]. All rows of tiles, of all images, are those of
 * one image, whose tiles a ConvTranspose puts side by side.
 */
function windowsOf(sums: Value, channels: number, m: TileSide, lengths: readonly number[]): Value {
  const [rows, columns] = lengths.map((length) => Math.ceil(length / m)) as [number, number]
  const inRows = op.Reshape(sums, [1, productsOf(m), -1, columns])
  const y = op.ConvTranspose(inRows, pairsOfRows(m, 'a', [1]), { strides: [m, m] })
  const whole = op.Reshape(y, [channels, -1, rows * m, columns * m])
  const exact = lengths.every((length) => length % m === 0)
  return swapFirst(exact ? whole : op.Slice(whole, [0, 0], lengths, [2, 3]))
}

/**
 * Transformed tiles of images [N, C, H, W]: [products, C, N tiles]. All channels of all images are one image of a
 * single channel, so that one Conv writes them in the order of the matrix products.
 */
function tiles(
  images: Value,
  channels: number,
  m: TileSide,
  matrix: 'a' | 'b',
  before: readonly number[],
  after: readonly number[],
): Value {
  const y = op.Conv(op.Reshape(swapFirst(images), [1, 1, -1, ...lengthsOf(images)]), pairsOfRows(m, matrix, [1, 1]), {
    strides: [1, m, m],
    pads: [0, ...before, 0, ...after],
  })
  return op.Reshape(y, [productsOf(m), channels, -1])
}
