import { dtypes } from '../../ir/dtype.js'
import { constantNumber, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { generation } from '../../op/definitions/generation.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'

/** Factor of the elements that Dropout keeps: 1 / (1 - ratio), or 1 outside training mode. */
function dropoutScale(x: Value, ratio: Value | null, training: Value): Value {
  const given = ratio ?? scalar(x.dtype, 0.5)
  const scale = op.Reciprocal(op.Sub(1, op.Cast(given, { to: dtypes[x.dtype].onnx })))
  return constantNumber(training) === 1 ? scale : op.Where(training, scale, 1)
}

export const generationRules = {
  Dropout: ([x, ratio, training], [dy], { y: [, mask] }) => {
    if (!dy) return [null, null, null]
    if (training === null || constantNumber(training) === 0) return [dy, null, null]
    return [op.Where(mask, op.Mul(dy, dropoutScale(x, ratio, training)), 0), null, null]
  },
} satisfies Rules<typeof generation>
