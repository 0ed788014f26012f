import { constant, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { vectorLength } from '../contents.js'
import { deformWindow, type sampling } from '../definitions/sampling.js'
import { op } from '../op.js'
import type { WindowAxis } from '../window.js'
import type { Expansions } from './expansion.js'
import {
  type Edge,
  lastElementOutside,
  mirroredAtBorders,
  mirroredAtCentres,
  nothingOutside,
  sampleAt,
  tapsAt,
} from './interpolate.js'
import { concat, lengthAlong, rangeAlongAxis, scalarLength } from './shape.js'

function requireKnown<T>(operator: string, what: string, value: T | undefined): T {
  if (value !== undefined) return value
  throw new OnnxIreError(
    'not-differentiable',
    `${operator}: its gradient needs ${what}; declare the shape of the model's input`,
  )
}

/**
 * Converts coordinates from [-1, 1] to elements of an axis; -1 is the center of the first element with `align_corners`,
 * else its border.
 */
function denormalized(place: Value, length: Value, alignCorners: boolean): Value {
  const n = op.CastLike(length, place)
  const forward = op.Add(place, 1)
  return alignCorners ? op.Mul(op.Div(forward, 2), op.Sub(n, 1)) : op.Div(op.Sub(op.Mul(forward, n), 1), 2)
}

/** The centers of the elements of an axis as coordinates in [-1, 1], in the type of `like`. */
function normalizedMiddles(length: Value, alignCorners: boolean, like: Value): Value {
  const [i, n] = [op.CastLike(op.Range(0, length, 1), like), op.CastLike(length, like)]
  if (!alignCorners) return op.Sub(op.Div(op.Add(op.Mul(i, 2), 1), n), 1)
  // Counted from the end: onnxruntime puts the only element of an axis there.
  const last = op.Sub(n, 1)
  return op.Sub(1, op.Div(op.Mul(op.Sub(last, i), 2), op.Max([last, 1])))
}

const edgeOf = (padding: string, alignCorners: boolean): Edge => {
  if (padding === 'zeros') return nothingOutside
  if (padding === 'border') return lastElementOutside
  return alignCorners ? mirroredAtCentres : mirroredAtBorders
}

/** [...samples, C] -> [N, C, ...the other axes of the samples] */
const channelsSecond = (y: Value, rank: number): Value =>
  op.Transpose(y, { perm: [0, rank, ...Array.from({ length: rank - 1 }, (_, axis) => axis + 1)] })

interface DeformedWindows {
  readonly window: readonly WindowAxis[]
  readonly kernel: readonly number[]
}

/** Offsets of the taps of a window from its start along one axis: [taps, 1, ...] with one 1 per axis. */
function tapOffsets({ window, kernel }: DeformedWindows, axis: number, like: Value): Value {
  const taps = sizeOf(kernel)
  const inner = sizeOf(kernel.slice(axis + 1))
  const { dilation, before } = window[axis]!
  const offsets = Array.from(
    { length: taps },
    (_, tap) => (Math.floor(tap / inner) % kernel[axis]!) * dilation - (before as number),
  )
  return constant(tensorFrom(like.dtype, [taps, ...kernel.map(() => 1)], offsets))
}

/** The samples of all deformed windows as columns: [N, C * taps, windows]. */
function deformedColumns(x: Value, offset: Value, mask: Value | null, groups: number, windows: DeformedWindows): Value {
  const { window, kernel } = windows
  const rank = kernel.length
  const taps = sizeOf(kernel)
  const space = op.Shape(offset, { start: 2 })
  // Each offset group of channels becomes a separate image.
  const channels = op.Div(lengthAlong(x, 1), int64s([groups]))
  const images = groups === 1 ? x : op.Reshape(x, concat([int64s([-1]), channels, op.Shape(x, { start: 2 })]))
  const moves = op.Reshape(offset, concat([int64s([-1, taps, rank]), space]))
  const places = window.map(({ stride }, axis) => {
    const starts = op.CastLike(op.Mul(rangeAlongAxis(scalarLength(offset, axis + 2), axis, rank), stride), x)
    return op.Add(op.Gather(moves, scalar('int64', axis), { axis: 2 }), op.Add(starts, tapOffsets(windows, axis, x)))
  })
  const y = sampleAt(images, {
    image: rangeAlongAxis(scalarLength(images, 0), 0, rank + 2),
    taps: places.map((at, axis) => tapsAt(at, scalarLength(x, axis + 2), 'linear', nothingOutside)),
    rank: rank + 2,
  })
  const weighed = mask ? op.Mul(y, op.Unsqueeze(op.Reshape(mask, concat([int64s([-1, taps]), space])), [-1])) : y
  const rows = op.Mul(lengthAlong(x, 1), int64s([taps]))
  return op.Reshape(channelsSecond(weighed, rank + 2), concat([lengthAlong(x, 0), rows, int64s([-1])]))
}

/** Weights [M, C / group, ...] times columns [N, C * taps, windows]: [N, group, M / group, windows]. */
function groupedProduct(w: Value, columns: Value, group: number): Value {
  const outputs = op.Div(lengthAlong(w, 0), int64s([group]))
  const rows = op.Div(lengthAlong(columns, 1), int64s([group]))
  const byGroup = op.Reshape(columns, concat([lengthAlong(columns, 0), int64s([group]), rows, int64s([-1])]))
  return op.MatMul(op.Reshape(w, concat([int64s([group]), outputs, int64s([-1])])), byGroup)
}

export const samplingExpansions = {
  GridSample: ([x, grid], { align_corners, mode, padding_mode }) => {
    const rank =
      requireKnown('GridSample', 'the number of axes of its input', x.shape?.length ?? grid.shape?.length) - 2
    const taps = Array.from({ length: rank }, (_, axis) => {
      const length = scalarLength(x, axis + 2)
      // The first coordinate of a position is along the last axis.
      const place = op.Gather(grid, scalar('int64', rank - 1 - axis), { axis: -1 })
      const at = denormalized(place, length, align_corners === 1)
      return tapsAt(at, length, mode as 'nearest' | 'linear' | 'cubic', edgeOf(padding_mode, align_corners === 1))
    })
    const image = rangeAlongAxis(scalarLength(x, 0), 0, rank + 1)
    return channelsSecond(sampleAt(x, { image, taps, rank: rank + 1 }), rank + 1)
  },
  // Every position [x, y, (z,) 1] times theta transposed.
  AffineGrid: ([theta, size], { align_corners }) => {
    const [axes, rows] = [vectorLength(size), theta.shape?.[1]]
    const knownRank = axes !== undefined ? axes - 2 : typeof rows === 'number' ? rows : undefined
    const rank = requireKnown('AffineGrid', 'the number of axes of the grid', knownRank)
    const space = op.Slice(size, [2], [rank + 2])
    const columns = Array.from({ length: rank }, (_, last) => {
      const axis = rank - 1 - last
      const middles = normalizedMiddles(op.Gather(size, scalar('int64', axis + 2)), align_corners === 1, theta)
      const along = op.Reshape(
        middles,
        Array.from({ length: rank }, (_, other) => (other === axis ? -1 : 1)),
      )
      return op.Unsqueeze(op.Expand(along, space), [-1])
    })
    const ones = op.Unsqueeze(op.Expand(scalar(theta.dtype, 1), space), [-1])
    const places = op.Reshape(op.Concat([...columns, ones], { axis: -1 }), [-1, rank + 1])
    const grid = op.MatMul(places, op.Transpose(theta, { perm: [0, 2, 1] }))
    return op.Reshape(grid, concat([lengthAlong(theta, 0), space, int64s([rank])]))
  },
  // A convolution whose taps are sampled at the offsets.
  DeformConv: ([x, w, offset, b, mask], attributes) => {
    const rank = requireKnown('DeformConv', 'the number of axes of its weights', w.shape?.length ?? x.shape?.length) - 2
    const unknown = Array.from({ length: rank + 2 }, (_, axis) => `?axis${axis}`)
    const window = deformWindow(x.shape ?? unknown, w.shape ?? unknown, attributes)
    const kernel = window.map(({ kernel }) =>
      requireKnown('DeformConv', 'the lengths of its kernel', typeof kernel === 'number' ? kernel : undefined),
    )
    const columns = deformedColumns(x, offset, mask, attributes.offset_group, { window, kernel })
    const shape = concat([lengthAlong(x, 0), lengthAlong(w, 0), op.Shape(offset, { start: 2 })])
    const y = op.Reshape(groupedProduct(w, columns, attributes.group), shape)
    return b ? op.Add(y, op.Reshape(b, [-1, ...kernel.map(() => 1)])) : y
  },
} satisfies Expansions<typeof sampling>
