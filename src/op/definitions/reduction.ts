import { addDims, axisOf, type Dim, formatShape, mulDims, type Shape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { exactly, knownNumbers, onNumbers, vectorLength } from '../contents.js'
import { type Call, define, type Facts, int, zero } from '../define.js'
import { perInput } from '../flops.js'

const attributes = { keepdims: int(1), noop_with_empty_axes: int(0) }
type Reduction = Call<readonly ['x', 'axes?'], typeof attributes>

/** The axes a reduction runs over: all of them when none are given; undefined when known only at run time. */
function reducedAxes(x: Value, axes: Value | null, noopWithEmptyAxes: number): readonly number[] | undefined {
  const rank = x.shape?.length
  if (rank === undefined) return undefined
  const given = axes === null ? [] : knownNumbers(axes)
  if (given === undefined) return undefined
  if (given.length === 0) return noopWithEmptyAxes ? [] : Array.from({ length: rank }, (_, axis) => axis)
  return given.map((axis) => axisOf(axis, rank))
}

function reducedType({ inputs: [x, axes], attributes: { keepdims, noop_with_empty_axes } }: Reduction): TensorType {
  const reduced = reducedAxes(x, axes, noop_with_empty_axes)
  return { dtype: x.dtype, shape: x.shape && (reduced ? without(x.shape, reduced, keepdims) : guess(x.shape)) }

  /** The rank where only that is known. */
  function guess(shape: Shape): Shape | undefined {
    const count = axes ? vectorLength(axes) : undefined
    if (count !== undefined && count > shape.length)
      throw new OnnxIreError('invalid-shape', `reduces ${count} axes of ${formatShape(shape)}`)
    if (keepdims) return shape.map(unknownDim)
    return count ? shape.slice(count).map(unknownDim) : undefined
  }
}

function without(shape: Shape, axes: readonly number[], keepdims: number): Shape {
  return keepdims
    ? shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
    : shape.filter((_, axis) => !axes.includes(axis))
}

/** `combine` follows shape arithmetic: the reduction of a small 1-D tensor (a product of lengths, say). */
const reduce = (since: number, operations: number, combine?: (a: Dim, b: Dim) => Dim, facts: Partial<Facts> = {}) =>
  define({
    inputs: ['x', 'axes?'],
    attributes,
    since,
    hostInputs: ['axes'],
    ...facts,
    flops: perInput(operations),
    infer: reducedType,
    contents: ({ inputs: [x, axes], attributes: { noop_with_empty_axes } }) => {
      if (!combine || !x.contents?.length || x.shape?.length !== 1) return undefined
      const combined = exactly(x.dtype, combine)
      const reduced = reducedAxes(x, axes, noop_with_empty_axes)
      return reduced && (reduced.length > 0 ? [x.contents.reduce((a, b) => combined(a, b))] : x.contents)
    },
  })

const best = define({
  inputs: ['x'],
  attributes: { axis: int(0), keepdims: int(1), select_last_index: int(0) },
  since: 12,
  gradient: zero('an index'),
  indexesAxis: true,
  acceptsInt32: true,
  flops: perInput(1),
  infer: ({ inputs: [x], attributes: { axis, keepdims } }) => ({
    dtype: 'int64',
    shape: x.shape && without(x.shape, [axisOf(axis, x.shape.length)], keepdims),
  }),
})

const cumulative = (since: number, facts: Partial<Facts> = {}) =>
  define({
    inputs: ['x', 'axis'],
    attributes: { exclusive: int(0), reverse: int(0) },
    since,
    hostInputs: ['axis'],
    ...facts,
    flops: perInput(1),
    infer: ({ inputs: [x, axis] }) => {
      const [number] = knownNumbers(axis) ?? []
      if (x.shape && number !== undefined) axisOf(number, x.shape.length)
      return x
    },
  })

const int32 = { acceptsInt32: true }

export const reduction = {
  ReduceSum: reduce(13, 1, addDims, { ...int32, keepsClasses: true }),
  ReduceMean: reduce(18, 1, undefined, { ...int32, keepsClasses: true }),
  ReduceMax: reduce(18, 1, onNumbers(Math.max), int32),
  ReduceMin: reduce(18, 1, onNumbers(Math.min), int32),
  ReduceProd: reduce(18, 1, mulDims, int32),
  ReduceL1: reduce(18, 2),
  ReduceL2: reduce(18, 2),
  ReduceLogSum: reduce(18, 1),
  // max + log sum exp(x - max)
  ReduceLogSumExp: reduce(18, 4),
  ReduceSumSquare: reduce(18, 2),
  ArgMax: best,
  ArgMin: best,
  CumSum: cumulative(11, int32),
  CumProd: cumulative(26),
  TopK: define({
    inputs: ['x', 'k'],
    outputs: ['values', 'indices'],
    attributes: { axis: int(-1), largest: int(1), sorted: int(1) },
    since: 11,
    hostInputs: ['k'],
    indexesAxis: true,
    acceptsInt32: true,
    flops: perInput(1),
    infer: ({ inputs: [x, k], attributes: { axis } }) => {
      const shape = x.shape && chosen(x.shape, axisOf(axis, x.shape.length), k)
      return [
        { dtype: x.dtype, shape },
        { dtype: 'int64', shape },
      ]
    },
  }),
}

function chosen(shape: Shape, axis: number, k: Value): Shape {
  const count = k.contents?.[0] ?? unknownDim()
  const length = shape[axis]!
  if (typeof count === 'number' && (count < 0 || (typeof length === 'number' && count > length))) {
    throw new OnnxIreError('invalid-shape', `cannot choose ${count} of ${length} elements`)
  }
  return shape.with(axis, count)
}
