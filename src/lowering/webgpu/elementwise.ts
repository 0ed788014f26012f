import { dtypes, isFloat, largestFloat32 } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { sameShape } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { activationExpansions } from '../../op/compose/activation.js'
import { cast } from '../../op/compose/cast.js'
import { applyMask } from '../../op/compose/shape.js'
import type { activation } from '../../op/definitions/activation.js'
import type { elementwise, logical } from '../../op/definitions/elementwise.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

const sum = (xs: readonly Value[]): Value => xs.reduce((sum, x) => op.Add(sum, x))
const negate = (x: Value): Value => op.Sub(scalar(x.dtype, 0), x)
const truncate = (x: Value): Value => op.Where(op.Less(x, 0), op.Ceil(x), op.Floor(x))
/** -1, 0 or 1; NaN for NaN. */
const sign = (x: Value): Value => op.Where(op.Greater(x, 0), 1, op.Where(op.Less(x, 0), -1, x))

/** a - b trunc(a / b), which has the sign of a. Corrects quotients that were rounded to the next integer. */
function fmod(a: Value, b: Value): Value {
  const remainder = op.Sub(a, op.Mul(b, isFloat(a.dtype) ? truncate(op.Div(a, b)) : op.Div(a, b)))
  if (!isFloat(a.dtype)) return remainder
  const step = op.Mul(sign(a), op.Abs(b))
  const low = op.Where(op.Less(op.Mul(remainder, sign(a)), 0), op.Add(remainder, step), remainder)
  return op.Where(op.GreaterOrEqual(op.Abs(low), op.Abs(b)), op.Sub(low, step), low)
}

/** Remainder with the sign of b, as in Python. */
function mod(a: Value, b: Value): Value {
  const remainder = fmod(a, b)
  const other = op.Less(op.Mul(sign(remainder), sign(b)), 0)
  return op.Where(other, op.Add(remainder, b), remainder)
}

/** Rounds to the nearest integer, halves to even. */
function roundHalfToEven(x: Value): Value {
  const floor = op.Floor(x)
  const rest = op.Sub(x, floor)
  const half = op.Mul(floor, 0.5)
  const odd = op.Sub(floor, op.Mul(op.Floor(half), 2))
  const tie = op.Where(op.Equal(rest, 0.5), odd, 0)
  return op.Add(floor, op.Where(op.Greater(rest, 0.5), 1, tie))
}

/** Power of two types: computed in the floating-point one, then cast to the type of `x`. */
const power = (x: Value, exponent: Value): Value =>
  isFloat(x.dtype) || !isFloat(exponent.dtype)
    ? op.Pow(x, cast(exponent, x.dtype))
    : cast(op.Pow(cast(x, exponent.dtype), exponent), x.dtype)

/**
 * Expands operands of which one is repeated along the last axis and the other is not: onnxruntime's shader does not
 * compile. Null if both have the same shape, or one is a single number.
 */
function broadcastPower(x: Value, exponent: Value): Value | null {
  const isNumber = ({ shape }: Value) => shape?.every((dim) => dim === 1) ?? false
  if (sameShape(x.shape, exponent.shape) || isNumber(x) || isNumber(exponent)) return null
  return op.Pow(op.Expand(x, op.Shape(exponent)), op.Expand(exponent, op.Shape(x)))
}

export const elementwiseLowerings = {
  Sum: ([...xs]) => sum(xs),
  Mean: ([...xs]) => op.Mul(sum(xs), 1 / xs.length),
  Sign: ([x]) => sign(x),
  Mod: ([a, b], { fmod: truncating }) => (truncating ? fmod(a, b) : mod(a, b)),
  Round: ([x]) => roundHalfToEven(x),
  Neg: ([x]) => (isFloat(x.dtype) ? null : negate(x)),
  Abs: ([x]) => (isFloat(x.dtype) ? null : op.Max([x, negate(x)])),
  Pow: ([x, exponent]) => (x.dtype === exponent.dtype ? broadcastPower(x, exponent) : power(x, exponent)),
  Identity: ([x]) => x,
  // int64 becomes int32: see `lower`.
  Cast: ([x], { to }) => (to === dtypes.int64.onnx ? cast(x, 'int32') : null),
  CastLike: ([x, target]) => cast(x, target.dtype),
  Where: ([condition, x, y]) =>
    x.dtype === 'uint8' ? cast(op.Where(condition, cast(x, 'float32'), cast(y, 'float32')), x.dtype) : null,
} satisfies Lowerings<typeof elementwise>

export const largestFinite = (x: Value): number => (x.dtype === 'float16' ? 65504 : largestFloat32)

/** Whether comparisons of this type have kernels. */
const hasComparison = (x: Value): boolean => isFloat(x.dtype) || x.dtype === 'int32' || x.dtype === 'uint32'
const equalAsInt32 = (a: Value, b: Value): Value => op.Equal(cast(a, 'int32'), cast(b, 'int32'))

export const logicalLowerings = {
  Equal: ([a, b]) => (hasComparison(a) ? null : equalAsInt32(a, b)),
  Or: ([a, b]) => op.Not(op.And(op.Not(a), op.Not(b))),
  Xor: ([a, b]) => op.Not(equalAsInt32(a, b)),
  // NaN alone differs from itself.
  IsNaN: ([x]) => op.Not(op.Equal(x, x)),
  IsInf: ([x], { detect_negative, detect_positive }) => {
    const above = op.Greater(x, scalar(x.dtype, largestFinite(x)))
    const below = op.Less(x, scalar(x.dtype, -largestFinite(x)))
    if (detect_positive && detect_negative) return op.Greater(op.Abs(x), scalar(x.dtype, largestFinite(x)))
    return detect_positive ? above : detect_negative ? below : op.And(above, below)
  },
} satisfies Lowerings<typeof logical>

/** e^(factor min(x, 0)) - 1: does not overflow. */
const decay = (x: Value, factor = 1): Value => {
  const negative = op.Min([x, 0])
  return op.Sub(op.Exp(factor === 1 ? negative : op.Mul(negative, factor)), 1)
}

export const activationLowerings = {
  Celu: ([x], { alpha }) => op.Add(op.Max([x, 0]), op.Mul(decay(x, 1 / alpha), alpha)),
  Selu: ([x], { alpha, gamma }) => op.Mul(op.Add(op.Max([x, 0]), op.Mul(decay(x), alpha)), gamma),
  Softsign: ([x]) => op.Div(x, op.Add(op.Abs(x), 1)),
  // x - bias above lambd, x + bias below -lambd, else 0
  Shrink: ([x], { bias, lambd }) =>
    op.Add(applyMask(op.Sub(x, bias), op.Greater(x, lambd)), applyMask(op.Add(x, bias), op.Less(x, -lambd))),
  Mish: activationExpansions.Mish,
} satisfies Lowerings<typeof activation>

/** For operator sets for which these operators have no kernel. */
export const downlevelActivations = {
  Elu: ([x], { alpha }) => op.Add(op.Max([x, 0]), op.Mul(decay(x), alpha)),
  HardSigmoid: ([x], { alpha, beta }) => op.Clip(op.Add(op.Mul(x, alpha), beta), 0, 1),
  HardSwish: ([x]) => op.Mul(x, op.Clip(op.Add(op.Mul(x, 1 / 6), 0.5), 0, 1)),
  Swish: ([x], { alpha }) => op.Mul(x, op.Sigmoid(alpha === 1 ? x : op.Mul(x, alpha))),
  ThresholdedRelu: ([x], { alpha }) => op.Where(op.Greater(x, alpha), x, scalar(x.dtype, 0)),
} satisfies Lowerings<typeof activation>
