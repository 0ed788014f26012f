import type { softmax } from '../../op/definitions/softmax.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'

export const softmaxRules = {
  // dx = y (dy - sum(dy y))
  Softmax: (_, dy, { y, attributes: { axis } }) => [
    op.Mul(y, op.Sub(dy, op.ReduceSum(op.Mul(dy, y), [axis], { keepdims: 1 }))),
  ],
  // dx = dy - softmax(x) sum(dy), softmax(x) = e^y
  LogSoftmax: (_, dy, { y, attributes: { axis } }) => [
    op.Sub(dy, op.Mul(op.Exp(y), op.ReduceSum(dy, [axis], { keepdims: 1 }))),
  ],
} satisfies Rules<typeof softmax>
