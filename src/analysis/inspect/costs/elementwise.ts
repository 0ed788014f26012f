import type { Value } from '../../../ir/value.js'
import type { activation } from '../../../op/definitions/activation.js'
import type { elementwise, logical } from '../../../op/definitions/elementwise.js'
import { type Costs, free, perOutput, size } from './cost.js'

const one = perOutput(1)

/** Any number of operands, combined two at a time. */
const folded = (xs: readonly Value[], [y]: readonly Value[]): number => (xs.length - 1) * size(y!)

export const elementwiseCosts = {
  Add: one,
  Sub: one,
  Mul: one,
  Div: one,
  Mod: one,
  Pow: one,
  Neg: one,
  Abs: one,
  Sqrt: one,
  Reciprocal: one,
  Exp: one,
  Log: one,
  Sin: one,
  Cos: one,
  Tan: one,
  Asin: one,
  Acos: one,
  Atan: one,
  Sinh: one,
  Cosh: one,
  Tanh: one,
  Asinh: one,
  Acosh: one,
  Atanh: one,
  Erf: one,
  Sign: one,
  Ceil: one,
  Floor: one,
  Round: one,
  Min: folded,
  Max: folded,
  Sum: folded,
  Mean: (xs, [y]) => xs.length * size(y!),
  Clip: ([x, min, max]) => ((min ? 1 : 0) + (max ? 1 : 0)) * size(x),
  Where: one,
  Identity: free,
  Cast: free,
  CastLike: free,
  BitCast: free,
  BitShift: one,
  BitwiseAnd: one,
  BitwiseOr: one,
  BitwiseXor: one,
  BitwiseNot: one,
} satisfies Costs<typeof elementwise>

export const logicalCosts = {
  Equal: one,
  Greater: one,
  GreaterOrEqual: one,
  Less: one,
  LessOrEqual: one,
  And: one,
  Or: one,
  Xor: one,
  Not: one,
  IsNaN: one,
  IsInf: one,
} satisfies Costs<typeof logical>

/** The operations of each formula on its page, sigmoid and tanh being one. */
export const activationCosts = {
  Relu: one,
  LeakyRelu: perOutput(2),
  PRelu: perOutput(2),
  ThresholdedRelu: one,
  Elu: perOutput(4), // x > 0 ? x : alpha (exp(x) - 1)
  Celu: perOutput(6), // max(0, x) + min(0, alpha (exp(x / alpha) - 1))
  Selu: perOutput(5),
  Sigmoid: one,
  HardSigmoid: perOutput(4),
  HardSwish: perOutput(5),
  Softplus: perOutput(3), // log(1 + exp(x))
  Softsign: perOutput(3),
  Mish: perOutput(5), // x tanh(softplus(x))
  Swish: (_, [y], { alpha }) => (alpha === 1 ? 2 : 3) * size(y!),
  Shrink: perOutput(3),
  // 0.5 x (1 + erf(x / sqrt 2)), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  Gelu: (_, [y], { approximate }) => (approximate === 'tanh' ? 9 : 5) * size(y!),
} satisfies Costs<typeof activation>
