import type { softmax } from '../../op/definitions/softmax.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'

export const softmaxRules = {
  // dy_i/dx_j = y_i (delta_ij - y_j)
  Softmax: (_, dy, { y, attributes: { axis } }) => [
    op.Mul(y, op.Sub(dy, op.ReduceSum(op.Mul(dy, y), [axis], { keepdims: 1 }))),
  ],
  // dy_i/dx_j = delta_ij - softmax(x)_j
  LogSoftmax: (_, dy, { y, attributes: { axis } }) => [
    op.Sub(dy, op.Mul(op.Exp(y), op.ReduceSum(dy, [axis], { keepdims: 1 }))),
  ],
} satisfies Rules<typeof softmax>
