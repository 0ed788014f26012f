import { constant, internConstant, tensorFrom } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { swapFirst } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'
import type { WindowAxis } from '../../op/window.js'

/*
 * The minimal filtering algorithm F(2 x 2, 3 x 3) (Winograd 1980; Lavin and Gray 2016) computes a tile of 2 x 2 windows
 * with 16 instead of 36 products: y = A^T ((G w G^T) * (B^T x B)) A with x a tile of 4 x 4 elements. It is bilinear, so
 * dw = G^T (sum over tiles of (A dy A^T) * (B^T x B)) G. Rounding errors are as small as those of the direct sum; larger
 * tiles would save more products, but need matrices of larger numbers.
 */
const B = [
  [1, 0, -1, 0],
  [0, 1, 1, 0],
  [0, -1, 1, 0],
  [0, 1, 0, -1],
]
const A = [
  [1, 0],
  [1, 1],
  [1, -1],
  [0, -1],
]
const G = [
  [1, 0, 0],
  [0.5, 0.5, 0.5],
  [0.5, -0.5, 0.5],
  [0, 0, 1],
]
const TILE = 2
/** Products per tile. */
const PRODUCTS = 16

/** Products of all pairs of rows, [rows^2, columns, columns]: row (a, b) maps a matrix X to element (a, b) of M X M^T. */
const pairsOfRows = (name: string, m: readonly (readonly number[])[], shape: readonly number[]): Value =>
  internConstant(`winograd ${name}`, () =>
    constant(
      tensorFrom(
        'float32',
        shape,
        m.flatMap((a) => m.flatMap((b) => a.flatMap((x) => b.map((y) => x * y)))),
      ),
    ),
  )

/**
 * Measured on onnxruntime's CPU provider: with fewer channels of x, or more channels of dy for each of them, the tiles
 * cost more than the products they save; with smaller images writing 16 products per weight does.
 */
const MIN_CHANNELS = 12
const MAX_OUTPUTS_PER_CHANNEL = 4
const MIN_LENGTH = 4

/** Whether `weightGradientByTiles` applies and is the fastest form. */
export function hasTiles(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): boolean {
  if (x.dtype !== 'float32' || group !== 1 || window.length !== 2 || !isStatic(w.shape)) return false
  const [outputs, channels] = w.shape as readonly [number, number]
  return (
    window.every(({ kernel, stride, dilation }) => kernel === 3 && stride === 1 && dilation === 1) &&
    [x, dy].every(({ shape }) => shape!.slice(2).every((length) => typeof length === 'number')) &&
    dy.shape!.slice(2).every((length) => (length as number) >= MIN_LENGTH) &&
    channels >= MIN_CHANNELS &&
    outputs <= MAX_OUTPUTS_PER_CHANNEL * channels
  )
}

/**
 * Gradient of the weights [O, C, 3, 3] of a Conv with stride 1, without groups. All channels of all images are one
 * image of a single channel, so that one Conv writes the tiles [16, C, tiles] in the order of the matrix products.
 */
export function weightGradientByTiles(x: Value, w: Value, dy: Value, window: readonly WindowAxis[]): Value {
  const [outputs, channels] = w.shape as readonly [number, number, number, number]
  const rests = dy.shape!.slice(2).map((length) => (length as number) % TILE)
  const before = window.map((axis) => axis.before as number)
  const after = window.map((axis, i) => (axis.after as number) + rests[i]!)
  const ofX = tiles(x, pairsOfRows('B', B, [PRODUCTS, 1, 1, 4, 4]), channels, before, after)
  const ofDy = tiles(dy, pairsOfRows('A', A, [PRODUCTS, 1, 1, 2, 2]), outputs, [0, 0], rests)
  const products = op.MatMul(ofDy, op.Transpose(ofX, { perm: [0, 2, 1] }))
  const dw = op.Gemm(op.Reshape(products, [PRODUCTS, -1]), pairsOfRows('G', G, [PRODUCTS, 9]), { transA: 1 })
  return op.Reshape(dw, w.shape as readonly number[])
}

/** Transformed tiles of images [N, C, H, W]: [16, C, N tiles]. */
function tiles(
  images: Value,
  kernels: Value,
  channels: number,
  before: readonly number[],
  after: readonly number[],
): Value {
  const lengths = images.shape!.slice(2) as readonly number[]
  const y = op.Conv(op.Reshape(swapFirst(images), [1, 1, -1, ...lengths]), kernels, {
    strides: [1, TILE, TILE],
    pads: [0, ...before, 0, ...after],
  })
  return op.Reshape(y, [PRODUCTS, channels, -1])
}
