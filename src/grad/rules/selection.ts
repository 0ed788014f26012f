import { constant, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { reshapeLike } from '../../op/compose/shape.js'
import type { selection } from '../../op/definitions/indexing.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'
import { gatherGradient } from './indexing.js'
import { scatterByPosition, scatterGradients } from './scatter.js'

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
