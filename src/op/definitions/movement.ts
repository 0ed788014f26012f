import { maxContentsElements } from '../../ir/leaf.js'
import {
  axisOf,
  broadcastShapes,
  type Dim,
  divDims,
  exactQuotient,
  formatShape,
  isStatic,
  maxRank,
  mulDims,
  productOf,
  type Shape,
  unknownDim,
} from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkIntegers, knownNumbers, limitContents, selectContents, vectorLength } from '../contents.js'
import { define, int, ints, string, zero } from '../define.js'
import { noFlops } from '../flops.js'

/** A shape given as a tensor: its elements where known, else as many unknown lengths as it has elements. */
export function shapeFrom(shape: Value): Shape | undefined {
  checkIntegers(shape)
  if (shape.contents) return shape.contents
  const rank = vectorLength(shape)
  return rank !== undefined && rank <= maxRank ? Array.from({ length: rank }, unknownDim) : undefined
}

/** Throws `invalid-shape` if a known dim is not an integer >= 0. */
export function checkLengths<S extends Shape | undefined>(shape: S): S {
  if (shape?.some((dim) => typeof dim === 'number' && !(Number.isInteger(dim) && dim >= 0))) {
    throw new OnnxIreError('invalid-shape', `${formatShape(shape)} has a negative or broken length`)
  }
  return shape
}

/** Reshape's target with 0 (copy) and -1 (remaining elements) resolved as far as possible. */
function resolveReshape(from: Shape | undefined, target: Shape | undefined, allowzero: boolean): Shape | undefined {
  if (!target) return undefined
  const copied = target.map(
    (dim, axis): Dim => (dim === 0 && !allowzero ? (from ? copiedDim(from, axis) : unknownDim()) : dim),
  )
  const rest = copied.filter((dim) => dim !== -1)
  if (copied.length - rest.length > 1)
    throw new OnnxIreError('invalid-shape', `more than one -1 in ${formatShape(target)}`)
  const left = from && rest.length < copied.length ? quotient(from, rest) : unknownDim()
  const shape = copied.map((dim) => (dim === -1 ? (left ?? unknownDim()) : dim))
  if (left === undefined || (isStatic(from) && isStatic(shape) && productOf(from) !== productOf(shape))) {
    throw new OnnxIreError('invalid-shape', `${formatShape(from)} cannot be reshaped to ${formatShape(target)}`)
  }
  return checkLengths(shape)
}

function copiedDim(from: Shape, axis: number): Dim {
  const dim = from[axis]
  if (dim === undefined) throw new OnnxIreError('invalid-shape', `nothing to copy at axis ${axis}`)
  return dim
}

/** product(from) / product(rest), an expression for symbolic dims; undefined if it is not an integer. */
function quotient(from: Shape, rest: Shape): Dim | undefined {
  const [over, under] = [productOf(from), productOf(rest)]
  if (under === 0) return unknownDim()
  const exact = exactQuotient(over, under)
  return exact ?? (typeof over === 'number' && typeof under === 'number' ? undefined : divDims(over, under))
}

/** The axes of Squeeze or Unsqueeze as indices >= 0; undefined if unknown before running. Throws on repeated axes. */
function distinctAxes(axes: Value, rank: number): readonly number[] | undefined {
  checkIntegers(axes)
  const known = knownNumbers(axes)?.map((axis) => axisOf(axis, rank))
  if (known && new Set(known).size < known.length)
    throw new OnnxIreError('invalid-shape', `axes [${known.join(', ')}] repeat themselves`)
  return known
}

function inferSqueeze(shape: Shape | undefined, axes: Value | null): Shape | undefined {
  if (!shape) return undefined
  if (axes === null) return isStatic(shape) ? shape.filter((dim) => dim !== 1) : undefined
  const removed = distinctAxes(axes, shape.length)
  if (!removed) {
    const count = vectorLength(axes)
    if (count === undefined) return undefined
    if (count > shape.length) throw new OnnxIreError('invalid-shape', `removes ${count} axes of ${formatShape(shape)}`)
    return Array.from({ length: shape.length - count }, unknownDim)
  }
  const kept = removed.find((axis) => typeof shape[axis] === 'number' && shape[axis] !== 1)
  if (kept !== undefined) throw new OnnxIreError('invalid-shape', `axis ${kept} has length ${shape[kept]}, not 1`)
  return shape.filter((_, axis) => !removed.includes(axis))
}

function inferUnsqueeze(shape: Shape | undefined, axes: Value): Shape | undefined {
  const count = vectorLength(axes)
  if (!shape || count === undefined || count > maxRank) return undefined
  const rank = shape.length + count
  const added = distinctAxes(axes, rank)
  if (!added) return Array.from({ length: rank }, unknownDim)
  const rest = shape.values()
  return Array.from({ length: rank }, (_, axis) => (added.includes(axis) ? 1 : (rest.next().value as Dim)))
}

/** The order in which Transpose takes the axes. */
export const permutation = (rank: number, perm: readonly number[] | undefined): readonly number[] =>
  perm ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis)

function inferTranspose(shape: Shape | undefined, perm: readonly number[] | undefined): Shape | undefined {
  if (!shape) return perm?.map(unknownDim)
  const order = permutation(shape.length, perm)
  if (order.length !== shape.length || shape.some((_, axis) => !order.includes(axis))) {
    throw new OnnxIreError('invalid-shape', `perm [${order.join(', ')}] is no order of ${shape.length} axes`)
  }
  return order.map((axis) => shape[axis]!)
}

function inferTile(shape: Shape | undefined, repeats: Value): Shape | undefined {
  checkIntegers(repeats)
  if (!shape) return shapeFrom(repeats)?.map(unknownDim)
  const counts = repeats.contents
  const length = vectorLength(repeats)
  if (length !== undefined && length !== shape.length) {
    throw new OnnxIreError('invalid-shape', `${length} repeats for ${shape.length} axes`)
  }
  return checkLengths(shape.map((dim, axis) => (counts ? mulDims(dim, counts[axis]!) : unknownDim())))
}

/** `[N, C, H, W]` with blocks of space moved into channels (`grow` false: depth into space). */
function blocks(shape: Shape | undefined, blocksize: number, toDepth: boolean): Shape | undefined {
  if (!shape) return undefined
  if (shape.length !== 4 || !(blocksize >= 1))
    throw new OnnxIreError('invalid-shape', `needs [N, C, H, W] and a blocksize of 1 or more`)
  const [n, c, h, w] = shape as readonly [Dim, Dim, Dim, Dim]
  const area = blocksize * blocksize
  const whole = toDepth ? [h, w].every((dim) => divides(blocksize, dim)) : divides(area, c)
  if (!whole)
    throw new OnnxIreError('invalid-shape', `${formatShape(shape)} does not divide into blocks of ${blocksize}`)
  return toDepth
    ? [n, mulDims(c, area), divDims(h, blocksize), divDims(w, blocksize)]
    : [n, divDims(c, area), mulDims(h, blocksize), mulDims(w, blocksize)]
}

const divides = (divisor: number, dim: Dim): boolean => typeof dim === 'string' || dim % divisor === 0

export const movement = {
  Shape: define({
    inputs: ['x'],
    attributes: { start: int(0), end: int.optional },
    since: 15,
    gradient: zero('a shape, not elements'),
    shapeOnly: true,
    acceptsInt32: true,
    maxOpset: { webgpu: 24 },
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { start, end } }) => ({
      dtype: 'int64',
      shape: [x.shape ? x.shape.slice(start, end).length : unknownDim()],
    }),
    contents: ({ inputs: [x], attributes: { start, end } }) => x.shape?.slice(start, end),
  }),
  Size: define({
    inputs: ['x'],
    since: 1,
    gradient: zero('a number of elements'),
    shapeOnly: true,
    acceptsInt32: true,
    flops: noFlops,
    infer: () => ({ dtype: 'int64', shape: [] }),
    contents: ({ inputs: [x] }) => x.shape && [productOf(x.shape)],
  }),
  Reshape: define({
    inputs: ['x', 'shape'],
    attributes: { allowzero: int(0) },
    since: 14,
    view: 'reshaped',
    hostInputs: ['shape'],
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x, shape], attributes: { allowzero } }) => ({
      dtype: x.dtype,
      shape: resolveReshape(x.shape, shapeFrom(shape), allowzero === 1),
    }),
    contents: ({ inputs: [x] }) => x.contents,
  }),
  Flatten: define({
    inputs: ['x'],
    attributes: { axis: int(1) },
    since: 11,
    view: 'reshaped',
    acceptsInt32: true,
    keepsClasses: true,
    maxOpset: { webgpu: 22 },
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { axis } }) => {
      if (!x.shape) return { dtype: x.dtype, shape: [unknownDim(), unknownDim()] }
      const at = axis === x.shape.length ? axis : axisOf(axis, x.shape.length)
      return { dtype: x.dtype, shape: [productOf(x.shape.slice(0, at)), productOf(x.shape.slice(at))] }
    },
    contents: ({ inputs: [x] }) => x.contents,
  }),
  Squeeze: define({
    inputs: ['x', 'axes?'],
    since: 13,
    view: 'reshaped',
    hostInputs: ['axes'],
    acceptsInt32: true,
    keepsClasses: true,
    maxOpset: { webgpu: 24 },
    flops: noFlops,
    infer: ({ inputs: [x, axes] }) => ({ dtype: x.dtype, shape: inferSqueeze(x.shape, axes) }),
    contents: ({ inputs: [x] }) => x.contents,
  }),
  Unsqueeze: define({
    inputs: ['x', 'axes'],
    since: 13,
    view: 'reshaped',
    hostInputs: ['axes'],
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x, axes] }) => ({ dtype: x.dtype, shape: inferUnsqueeze(x.shape, axes) }),
    contents: ({ inputs: [x] }) => x.contents,
  }),
  Transpose: define({
    inputs: ['x'],
    attributes: { perm: ints.optional },
    since: 1,
    view: 'rearranged',
    acceptsInt32: true,
    keepsClasses: true,
    maxOpset: { webgpu: 24 },
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { perm } }) => ({ dtype: x.dtype, shape: inferTranspose(x.shape, perm) }),
    contents: ({ inputs: [x], attributes: { perm } }) => {
      const order = x.shape && permutation(x.shape.length, perm)
      return (
        order &&
        selectContents(x, inferTranspose(x.shape, perm), (c) => order.map((_, axis) => c[order.indexOf(axis)]!))
      )
    },
  }),
  Expand: define({
    inputs: ['x', 'shape'],
    since: 8,
    hostInputs: ['shape'],
    enlarges: true,
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x, shape] }) => ({
      dtype: x.dtype,
      shape: checkLengths(broadcastShapes([x.shape, shapeFrom(shape)])),
    }),
    contents: ({ inputs: [x, shape] }) => {
      const to = broadcastShapes([x.shape, shapeFrom(shape)])
      return selectContents(x, to, (c) =>
        x.shape!.map((dim, axis) => (dim === 1 ? 0 : c[axis - x.shape!.length + to!.length]!)),
      )
    },
  }),
  Tile: define({
    inputs: ['x', 'repeats'],
    since: 6,
    hostInputs: ['repeats'],
    enlarges: true,
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x, repeats] }) => ({ dtype: x.dtype, shape: inferTile(x.shape, repeats) }),
    contents: ({ inputs: [x, repeats] }) => {
      const [count] = knownNumbers(repeats) ?? []
      if (x.shape?.length !== 1 || !x.contents || count === undefined || count > maxContentsElements) return undefined
      return limitContents(Array.from({ length: count }, () => x.contents!).flat())
    },
  }),
  DepthToSpace: define({
    inputs: ['x'],
    attributes: { blocksize: int.required, mode: string('DCR') },
    since: 11,
    maxOpset: { webgpu: 24 },
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { blocksize } }) => ({
      dtype: x.dtype,
      shape: blocks(x.shape, blocksize, false),
    }),
  }),
  SpaceToDepth: define({
    inputs: ['x'],
    attributes: { blocksize: int.required },
    since: 1,
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { blocksize } }) => ({
      dtype: x.dtype,
      shape: blocks(x.shape, blocksize, true),
    }),
  }),
}
