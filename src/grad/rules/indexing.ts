import { OnnxIreError } from '../../errors.js'
import { constant, constantTensor, int64s, numbersOf, scalar, tensorFrom } from '../../ir/leaf.js'
import { axisOf, type Dim, exactQuotient, productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/basic.js'
import type { indexing } from '../../op/indexing.js'
import type { Expansions, Rules } from '../rule.js'
import { lengthAlong, reshapeLike } from './movement.js'
import { addedAt, scattered, scatterGradients } from './scatter.js'

/** The adjoint of Gather: every slice of dy is added where it was taken from. */
function ungathered(x: Value, indices: Value, dy: Value, axis: number): Value {
  const tensor = constantTensor(indices)
  if (tensor && x.shape && tensor.dims.length < 2) {
    const [known, at] = [numbersOf(tensor), axisOf(axis, x.shape.length)]
    if (known.length === 1) return placedAt(known[0]!, x, tensor.dims.length === 0 ? op.Unsqueeze(dy, [at]) : dy, at)
    const order = tensor.dims.length === 1 ? inverse(known, x.shape[at]!) : undefined
    if (order) return op.Gather(dy, order, { axis })
  }
  const updates = indices.shape?.length === 1 ? dy : op.Reshape(dy, shapeOfSlices(x, indices, axis), { allowzero: 1 })
  if (x.shape && notMore(x, updates)) return addedAlongLast(x, indices, updates, axisOf(axis, x.shape.length))
  return addedAt(x, op.Expand(column(x, indices, axis), op.Shape(updates)), updates, axis)
}

/** Whether `a` has no more elements than `b`, as far as their shapes tell. */
function notMore(a: Value, b: Value): boolean {
  if (!a.shape || !b.shape) return false
  const [few, many] = [productOf(a.shape), productOf(b.shape)]
  if (typeof few === 'number' && typeof many === 'number') return few <= many
  const times = exactQuotient(many, few)
  return typeof times === 'number' && times >= 1
}

/**
 * The same with the axis moved to the end, where onnxruntime's CPU provider adds at scattered places twice as fast as in
 * front: of use unless there is more to move than to add.
 */
function addedAlongLast(x: Value, indices: Value, updates: Value, axis: number): Value {
  const axes = x.shape!.map((_, index) => index)
  const last = axes.length - 1
  if (axis === last) return addedAt(x, op.Expand(op.Reshape(indices, [-1]), op.Shape(updates)), updates, axis)
  const perm = [...axes.slice(0, axis), ...axes.slice(axis + 1), axis]
  const slices = op.Transpose(updates, { perm })
  const zeros = op.Expand(scalar(updates.dtype, 0), op.Gather(op.Shape(x), perm))
  const at = op.Expand(op.Reshape(indices, [-1]), op.Shape(slices))
  const sums = op.ScatterElements(zeros, at, slices, { axis: last, reduction: 'add' })
  return op.Transpose(sums, { perm: [...axes.slice(0, axis), last, ...axes.slice(axis, -1)] })
}

/** The shape of `x` with as many slices along `axis` as there are indices. */
function shapeOfSlices(x: Value, indices: Value, axis: number): Value {
  const after = axis === -1 ? int64s([]) : op.Shape(x, { start: axis + 1 })
  return op.Concat([op.Shape(x, { end: axis }), op.Reshape(op.Size(indices), [1]), after], { axis: 0 })
}

/** The indices along `axis`, the axes behind it having length 1. */
function column(x: Value, indices: Value, axis: number): Value {
  if (x.shape) return op.Reshape(indices, [-1, ...x.shape.slice(axisOf(axis, x.shape.length) + 1).map(() => 1)])
  const after = axis === -1 ? int64s([]) : op.Shape(x, { start: axis + 1 })
  return op.Reshape(indices, op.Concat([int64s([-1]), op.Expand(int64s([1]), op.Shape(after))], { axis: 0 }))
}

/** One slice, as it stands at a known place of `x`, among zeros. */
function placedAt(index: number, x: Value, slice: Value, axis: number): Value {
  const length = lengthAlong(x, axis)
  const before = index < 0 ? op.Add(length, int64s([index])) : int64s([index])
  const after = index < 0 ? int64s([-1 - index]) : op.Sub(length, int64s([index + 1]))
  const pads = [before, after].flatMap((margin) => x.shape!.map((_, other) => (other === axis ? margin : int64s([0]))))
  return op.Pad(slice, op.Concat(pads, { axis: 0 }))
}

/** The order that undoes taking `indices` of an axis of that many elements, when they name each once. */
function inverse(indices: readonly number[], length: Dim): readonly number[] | undefined {
  if (indices.length !== length) return undefined
  const order = Array<number>(length).fill(-1)
  for (const [to, from] of indices.entries()) order[from < 0 ? from + length : from] = to
  return order.length === length && !order.includes(-1) ? order : undefined
}

/** y = off + (on - off) hot, hot being 1 at the indices: the two values meet dy where they stand. */
function oneHotValues(values: Value, hot: Value, dy: Value): Value {
  const all = op.ReduceSum(dy, null, { keepdims: 0 })
  const on = op.ReduceSum(op.Mul(dy, hot), null, { keepdims: 0 })
  return reshapeLike(op.Concat([op.Unsqueeze(op.Sub(all, on), [0]), op.Unsqueeze(on, [0])], { axis: 0 }), values)
}

export const indexingRules = {
  Gather: ([x, indices], dy, { attributes: { axis } }) => [ungathered(x, indices, dy, axis), null],
  GatherElements: ([x, indices], dy, { attributes: { axis } }) => [addedAt(x, indices, dy, axis), null],
  GatherND: ([x, indices], dy, { attributes: { batch_dims } }) => [
    scattered(x, dy, (positions) => op.GatherND(positions, indices, { batch_dims })),
    null,
  ],
  ScatterElements: ([x, indices, updates], dy, { y, attributes: { axis, reduction } }) => {
    const [dx, du] = scatterGradients([x, updates], dy, y, reduction, {
      take: (from) => op.GatherElements(from, indices, { axis }),
      put: (onto, values, by) => op.ScatterElements(onto, indices, values, { axis, reduction: by }),
    })
    return [dx, null, du]
  },
  ScatterND: ([x, indices, updates], dy, { y, attributes: { reduction } }) => {
    const [dx, du] = scatterGradients([x, updates], dy, y, reduction, {
      take: (from) => op.GatherND(from, indices),
      put: (onto, values, by) => op.ScatterND(onto, indices, values, { reduction: by }),
    })
    return [dx, null, du]
  },
  OneHot: ([indices, depth, values], dy, { attributes: { axis } }) => {
    const hot = op.OneHot(indices, depth, constant(tensorFrom(values.dtype, [2], [0, 1])), { axis })
    return [null, null, oneHotValues(values, hot, dy)]
  },
  Unique: ([x], [dy], { y: [, first], attributes: { axis } }) => {
    if (!dy) return [null]
    return [
      axis === undefined
        ? reshapeLike(ungathered(op.Reshape(x, [-1]), first, dy, 0), x)
        : ungathered(x, first, dy, axis),
    ]
  },
  // y_i = start + i delta
  Range: (_, dy) => {
    const i = op.CastLike(op.Range(0, op.Size(dy), 1), dy)
    return [op.ReduceSum(dy, null, { keepdims: 0 }), null, op.ReduceSum(op.Mul(dy, i), null, { keepdims: 0 })]
  },
  ReverseSequence: ([, lengths], dy, { attributes }) => [op.ReverseSequence(dy, lengths, attributes), null],
} satisfies Rules<typeof indexing>

/** The places along `axis` that TensorScatter writes an update to, int64 of the update's shape. */
function writtenPlaces(past: Value, update: Value, start: Value | null, axis: number, mode: string): Value {
  const rank = past.shape?.length ?? update.shape?.length
  if (rank === undefined) {
    throw new OnnxIreError('not-differentiable', 'TensorScatter: its gradient needs the number of axes of the cache')
  }
  const at = axisOf(axis, rank)
  const along = (other: number) => Array.from({ length: rank }, (_, own) => (own === other ? -1 : 1))
  const steps = op.Reshape(op.Range(0, op.Reshape(lengthAlong(update, at), int64s([])), 1), along(at))
  const places = start ? op.Add(op.Reshape(start, along(0)), steps) : steps
  return op.Expand(mode === 'circular' ? op.Mod(places, lengthAlong(past, at)) : places, op.Shape(update))
}

export const indexingExpansions = {
  TensorScatter: ([past, update, start], { axis, mode }) =>
    op.ScatterElements(past, writtenPlaces(past, update, start, axis, mode), update, { axis }),
  // The elements at the positions where the condition holds.
  Compress: ([x, condition], { axis }) => {
    const positions = op.Squeeze(op.NonZero(condition), [0])
    return axis === undefined ? op.Gather(op.Reshape(x, [-1]), positions) : op.Gather(x, positions, { axis })
  },
} satisfies Expansions<typeof indexing>
