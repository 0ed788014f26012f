import { isHalf } from '../../ir/dtype.js'
import { constant, constantTensor, int64s, numbersOf, scalar, tensorFrom } from '../../ir/leaf.js'
import { axisOf, type Dim, exactQuotient, productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { lengthAlong, reshapeLike } from '../../op/compose/shape.js'
import type { indexing, selection } from '../../op/definitions/indexing.js'
import { op } from '../../op/op.js'
import { zerosLike } from '../active.js'
import type { Rules } from '../rule.js'

/** Gradient of Gather: every slice of dy is added at the index it was taken from. */
function gatherGradient(x: Value, indices: Value, dy: Value, axis: number): Value {
  const tensor = constantTensor(indices)
  if (tensor && x.shape && tensor.dims.length < 2) {
    const [known, at] = [numbersOf(tensor), axisOf(axis, x.shape.length)]
    if (known.length === 1) return padSlice(known[0]!, x, tensor.dims.length === 0 ? op.Unsqueeze(dy, [at]) : dy, at)
    const order = tensor.dims.length === 1 ? inverseOrder(known, x.shape[at]!) : undefined
    if (order) return op.Gather(dy, order, { axis })
  }
  const updates = indices.shape?.length === 1 ? dy : op.Reshape(dy, shapeOfSlices(x, indices, axis), { allowzero: 1 })
  if (x.shape && hasAtMostAsManyElements(x, updates))
    return scatterAddAlongLastAxis(x, indices, updates, axisOf(axis, x.shape.length))
  return scatterAdd(x, op.Expand(indexColumn(x, indices, axis), op.Shape(updates)), updates, axis)
}

/** Whether `a` certainly has at most as many elements as `b`. */
function hasAtMostAsManyElements(a: Value, b: Value): boolean {
  if (!a.shape || !b.shape) return false
  const [few, many] = [productOf(a.shape), productOf(b.shape)]
  if (typeof few === 'number' && typeof many === 'number') return few <= many
  const times = exactQuotient(many, few)
  return typeof times === 'number' && times >= 1
}

/**
 * `scatterAdd` with the axis moved to the end, where onnxruntime's CPU provider scatters twice as fast as in front.
 * It pays off unless more elements are moved than added.
 */
function scatterAddAlongLastAxis(x: Value, indices: Value, updates: Value, axis: number): Value {
  const axes = x.shape!.map((_, index) => index)
  const last = axes.length - 1
  if (axis === last) return scatterAdd(x, op.Expand(op.Reshape(indices, [-1]), op.Shape(updates)), updates, axis)
  const perm = [...axes.slice(0, axis), ...axes.slice(axis + 1), axis]
  const slices = op.Transpose(updates, { perm })
  const zeros = op.Expand(scalar(updates.dtype, 0), op.Gather(op.Shape(x), perm))
  const at = op.Expand(op.Reshape(indices, [-1]), op.Shape(slices))
  const sums = addAtIndices(zeros, at, slices, last)
  return op.Transpose(sums, { perm: [...axes.slice(0, axis), last, ...axes.slice(axis, -1)] })
}

/** Shape of `x` with one slice along `axis` per index. */
function shapeOfSlices(x: Value, indices: Value, axis: number): Value {
  const after = axis === -1 ? int64s([]) : op.Shape(x, { start: axis + 1 })
  return op.Concat([op.Shape(x, { end: axis }), op.Reshape(op.Size(indices), [1]), after], { axis: 0 })
}

/** Indices along `axis`, followed by axes of length 1. */
function indexColumn(x: Value, indices: Value, axis: number): Value {
  if (x.shape) return op.Reshape(indices, [-1, ...x.shape.slice(axisOf(axis, x.shape.length) + 1).map(() => 1)])
  const after = axis === -1 ? int64s([]) : op.Shape(x, { start: axis + 1 })
  return op.Reshape(indices, op.Concat([int64s([-1]), op.Expand(int64s([1]), op.Shape(after))], { axis: 0 }))
}

/** Pads one slice with zeros so that it is at a constant index of `x`. */
function padSlice(index: number, x: Value, slice: Value, axis: number): Value {
  const length = lengthAlong(x, axis)
  const before = index < 0 ? op.Add(length, int64s([index])) : int64s([index])
  const after = index < 0 ? int64s([-1 - index]) : op.Sub(length, int64s([index + 1]))
  const pads = [before, after].flatMap((margin) => x.shape!.map((_, other) => (other === axis ? margin : int64s([0]))))
  return op.Pad(slice, op.Concat(pads, { axis: 0 }))
}

/**
 * Permutation that inverts gathering `indices` from an axis of `length` elements; undefined if they are not a
 * permutation.
 */
function inverseOrder(indices: readonly number[], length: Dim): readonly number[] | undefined {
  if (indices.length !== length) return undefined
  const order = Array<number>(length).fill(-1)
  for (const [to, from] of indices.entries()) order[from < 0 ? from + length : from] = to
  return order.length === length && !order.includes(-1) ? order : undefined
}

export const indexingRules = {
  Gather: ([x, indices], dy, { attributes: { axis } }) => [gatherGradient(x, indices, dy, axis), null],
  GatherElements: ([x, indices], dy, { attributes: { axis } }) => [scatterAdd(x, indices, dy, axis), null],
  ScatterElements: ([x, indices, updates], dy, { y, attributes: { axis, reduction } }) => {
    const [dx, du] = scatterGradients([x, updates], dy, y, reduction, {
      take: (from) => op.GatherElements(from, indices, { axis }),
      put: (onto, values, by) => op.ScatterElements(onto, indices, values, { axis, reduction: by }),
    })
    return [dx, null, du]
  },
  // y_i = start + i delta: dstart = sum(dy), ddelta = sum(dy i).
  Range: ([start, , delta], dy) => {
    const i = op.CastLike(op.Range(0, op.Size(dy), 1), dy)
    // The operands have no axis, or one of length 1.
    const sum = (x: Value, like: Value) => op.ReduceSum(x, null, { keepdims: like.shape?.length === 1 ? 1 : 0 })
    return [sum(dy, start), null, sum(op.Mul(dy, i), delta)]
  },
} satisfies Rules<typeof indexing>

/** Zeros like `x` with `updates` (of the rank of x) added at `indices` along `axis`. */
const scatterAdd = (x: Value, indices: Value, updates: Value, axis: number): Value =>
  addAtIndices(zerosLike(x), indices, updates, axis)

/**
 * `x` with `updates` (of the rank of x) added at `indices` along `axis`; repeated indices add repeatedly.
 * It uses ScatterElements: ScatterND is faster on onnxruntime's CPU provider but adds from several threads without
 * synchronization and sometimes loses additions at repeated indices. Half precision is added in float32, because that
 * provider adds no float16.
 */
export function addAtIndices(x: Value, indices: Value, updates: Value, axis: number): Value {
  const dtype = isHalf(x.dtype) ? 'float32' : x.dtype
  const sums = op.ScatterElements(cast(x, dtype), indices, cast(updates, dtype), { axis, reduction: 'add' })
  return cast(sums, x.dtype)
}

/** Row-major position of every element of `x`. */
const positionsIn = (x: Value): Value => op.Reshape(op.Range(0, op.Size(x), 1), op.Shape(x), { allowzero: 1 })

/**
 * Gradient of `move`, which moves or repeats elements of x: it moves their positions too, and adds each element of dy
 * at its origin.
 */
export function scatterByPosition(x: Value, dy: Value, move: (positions: Value) => Value): Value {
  return reshapeLike(
    scatterAdd(op.Reshape(x, [-1]), op.Reshape(move(positionsIn(x)), [-1]), op.Reshape(dy, [-1]), 0),
    x,
  )
}

/** Addressing of a scattering operator: reading and writing at its indices. */
interface Addresses {
  /** Elements of a tensor of the shape of x at the indices, in the shape of the updates. */
  take(from: Value): Value
  put(onto: Value, updates: Value, reduction: 'none' | 'add' | 'mul'): Value
}

/**
 * Gradients of y = scatter(x, indices, u) with respect to x and u. With reduction 'none' ONNX leaves open which of
 * several updates at one index wins.
 */
function scatterGradients(
  [x, u]: readonly [Value, Value],
  dy: Value,
  y: Value,
  reduction: string,
  { take, put }: Addresses,
): [dx: Value, du: Value] {
  if (reduction === 'add') return [dy, take(dy)]
  if (reduction === 'none') return [put(dy, zerosLike(u), 'none'), take(dy)]
  if (reduction === 'mul') {
    const product = put(nonZero(x), nonZero(u), 'mul')
    const zeros = put(isZero(x), isZero(u), 'add')
    return [
      op.Mul(dy, productWithout(x, product, zeros)),
      op.Mul(take(dy), productWithout(u, take(product), take(zeros))),
    ]
  }
  // max and min: elements that equal the extremum share its gradient.
  const [isX, isU] = [same(x, y), same(u, take(y))]
  const share = op.Div(dy, put(isX, isU, 'add'))
  return [op.Mul(share, isX), op.Mul(take(share), isU)]
}

const same = (a: Value, b: Value): Value => op.CastLike(op.Equal(a, b), a)
const isZero = (x: Value): Value => same(x, zerosLike(x))
const nonZero = (x: Value): Value => op.Where(op.Equal(x, zerosLike(x)), op.Add(x, 1), x)

/** Product of all factors except `factor`, computed from the product of the nonzero ones and the number of zeros. */
const productWithout = (factor: Value, product: Value, zeros: Value): Value =>
  op.Mul(op.Div(product, nonZero(factor)), same(zeros, isZero(factor)))

/**
 * Gradient of OneHot's values [off, on]: y = off + (on - off) hot, so doff = sum(dy (1 - hot)) and don = sum(dy hot).
 */
function oneHotValueGradient(values: Value, hot: Value, dy: Value): Value {
  const all = op.ReduceSum(dy, null, { keepdims: 0 })
  const on = op.ReduceSum(op.Mul(dy, hot), null, { keepdims: 0 })
  return reshapeLike(op.Concat([op.Unsqueeze(op.Sub(all, on), [0]), op.Unsqueeze(on, [0])], { axis: 0 }), values)
}

export const selectionRules = {
  GatherND: ([x, indices], dy, { attributes: { batch_dims } }) => [
    scatterByPosition(x, dy, (positions) => op.GatherND(positions, indices, { batch_dims })),
    null,
  ],
  ScatterND: ([x, indices, updates], dy, { y, attributes: { reduction } }) => {
    const [dx, du] = scatterGradients([x, updates], dy, y, reduction, {
      take: (from) => op.GatherND(from, indices),
      put: (onto, values, by) => op.ScatterND(onto, indices, values, { reduction: by }),
    })
    return [dx, null, du]
  },
  OneHot: ([indices, depth, values], dy, { attributes: { axis } }) => {
    const hot = op.OneHot(indices, depth, constant(tensorFrom(values.dtype, [2], [0, 1])), { axis })
    return [null, null, oneHotValueGradient(values, hot, dy)]
  },
  Unique: ([x], [dy], { y: [, first], attributes: { axis } }) => {
    if (!dy) return [null]
    return [
      axis === undefined
        ? reshapeLike(gatherGradient(op.Reshape(x, [-1]), first, dy, 0), x)
        : gatherGradient(x, first, dy, axis),
    ]
  },
  ReverseSequence: ([, lengths], dy, { attributes }) => [op.ReverseSequence(dy, lengths, attributes), null],
} satisfies Rules<typeof selection>
