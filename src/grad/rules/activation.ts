import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { applyMask, indicator } from '../../op/compose/shape.js'
import type { activation } from '../../op/definitions/activation.js'
import type { softmax } from '../../op/definitions/softmax.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'

const square = (x: Value): Value => op.Mul(x, x)
const positive = (x: Value): Value => op.Greater(x, 0)
const sqrtPi = Math.sqrt(Math.PI)
const sqrt2OverPi = Math.sqrt(2 / Math.PI)

/**
 * Derivative of x (1 + erf(x / sqrt 2)) / 2: Phi(x) + x phi(x), the normal distribution function and its density, with
 * u = x / sqrt 2.
 */
function geluSlope(x: Value): Value {
  const u = op.Mul(x, Math.SQRT1_2)
  const distribution = op.Mul(op.Add(op.Erf(u), 1), 0.5)
  // A quotient, because negating u^2 would be one more pass over the tensor.
  return op.Add(distribution, op.Mul(op.Div(u, op.Exp(square(u))), 1 / sqrtPi))
}

/** Derivative of x (1 + t) / 2 with t = tanh(sqrt(2 / pi) (x + 0.044715 x^3)). */
function geluTanhSlope(x: Value): Value {
  const xx = square(x)
  const t = op.Tanh(op.Mul(op.Mul(x, op.Add(op.Mul(xx, 0.044715), 1)), sqrt2OverPi))
  const inner = op.Mul(op.Add(op.Mul(xx, 3 * 0.044715), 1), sqrt2OverPi / 2)
  return op.Add(op.Mul(op.Add(t, 1), 0.5), op.Mul(op.Mul(x, op.Sub(1, square(t))), inner))
}

/**
 * Gradient rules of activations. At kinks they equal PyTorch's: the left derivative for rectifiers, 0 outside open
 * intervals.
 */
export const activationRules = {
  // y > 0 is x > 0, and the next layer stores y in any case.
  Relu: (_, dy, { y }) => [applyMask(dy, positive(y))],
  LeakyRelu: ([x], dy, { y, attributes: { alpha } }) => [
    op.Mul(dy, op.Where(positive(alpha >= 0 ? y : x), scalar(x.dtype, 1), scalar(x.dtype, alpha))),
  ],
  PRelu: ([x, slope], dy) => [op.Mul(dy, op.Where(positive(x), 1, slope)), op.Mul(dy, op.Min([x, 0]))],
  ThresholdedRelu: ([x], dy, { attributes: { alpha } }) => [applyMask(dy, op.Greater(x, alpha))],
  // For x <= 0 the slope is alpha e^x = y + alpha.
  Elu: ([x], dy, { y, attributes: { alpha } }) => [op.Mul(dy, op.Where(positive(x), 1, op.Add(y, alpha)))],
  // For x <= 0 the slope is e^(x / alpha) = y / alpha + 1.
  Celu: ([x], dy, { y, attributes: { alpha } }) => [
    op.Mul(dy, op.Where(positive(x), 1, op.Add(op.Mul(y, 1 / alpha), 1))),
  ],
  // For x <= 0 the slope is gamma alpha e^x = y + gamma alpha.
  Selu: ([x], dy, { y, attributes: { alpha, gamma } }) => [
    op.Mul(dy, op.Where(positive(x), gamma, op.Add(y, gamma * alpha))),
  ],
  Sigmoid: (_, dy, { y }) => [op.Mul(dy, op.Mul(y, op.Sub(1, y)))],
  // y = x s with s = sigmoid(alpha x): the slope is s + alpha y (1 - s).
  Swish: ([x], dy, { y, attributes: { alpha } }) => {
    const s = op.Sigmoid(op.Mul(x, alpha))
    return [op.Mul(dy, op.Add(s, op.Mul(op.Mul(y, alpha), op.Sub(1, s))))]
  },
  HardSigmoid: (_, dy, { y, attributes: { alpha } }) => [
    applyMask(op.Mul(dy, alpha), op.And(positive(y), op.Less(y, 1))),
  ],
  HardSwish: ([x], dy) => [
    op.Mul(dy, op.Where(op.Less(op.Abs(x), 3), op.Add(op.Mul(x, 1 / 3), 0.5), indicator(positive(x), x))),
  ],
  Softplus: ([x], dy) => [op.Mul(dy, op.Sigmoid(x))],
  // The slope is 1 / (1 + |x|)^2 = (1 - |y|)^2.
  Softsign: (_, dy, { y }) => [op.Mul(dy, square(op.Sub(1, op.Abs(y))))],
  Shrink: ([x], dy, { attributes: { lambd } }) => [applyMask(dy, op.Greater(op.Abs(x), lambd))],
  Gelu: ([x], dy, { attributes: { approximate } }) => [
    op.Mul(dy, approximate === 'tanh' ? geluTanhSlope(x) : geluSlope(x)),
  ],
} satisfies Rules<typeof activation>

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
