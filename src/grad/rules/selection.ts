import { constant, int64s, tensorFrom } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { selection } from '../../op/selection.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Expansions, Rules } from '../rule.js'
import { ungathered } from './indexing.js'
import { lengthAlong, reshapeLike } from './movement.js'
import { scattered, scatterGradients } from './scatter.js'

/** y = off + (on - off) hot, hot being 1 at the indices: the two values meet dy where they stand. */
function oneHotValues(values: Value, hot: Value, dy: Value): Value {
  const all = op.ReduceSum(dy, null, { keepdims: 0 })
  const on = op.ReduceSum(op.Mul(dy, hot), null, { keepdims: 0 })
  return reshapeLike(op.Concat([op.Unsqueeze(op.Sub(all, on), [0]), op.Unsqueeze(on, [0])], { axis: 0 }), values)
}

export const selectionRules = {
  GatherND: ([x, indices], dy, { attributes: { batch_dims } }) => [
    scattered(x, dy, (positions) => op.GatherND(positions, indices, { batch_dims })),
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
  ReverseSequence: ([, lengths], dy, { attributes }) => [op.ReverseSequence(dy, lengths, attributes), null],
} satisfies Rules<typeof selection>

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

export const selectionExpansions = {
  TensorScatter: ([past, update, start], { axis, mode }) =>
    op.ScatterElements(past, writtenPlaces(past, update, start, axis, mode), update, { axis }),
  // The elements at the positions where the condition holds.
  Compress: ([x, condition], { axis }) => {
    const positions = op.Squeeze(op.NonZero(condition), [0])
    return axis === undefined ? op.Gather(op.Reshape(x, [-1]), positions) : op.Gather(x, positions, { axis })
  },
} satisfies Expansions<typeof selection>
