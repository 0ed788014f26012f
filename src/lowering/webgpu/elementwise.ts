import { isFloat } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { elementwise } from '../../op/definitions/elementwise.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { cast } from './through.js'

const total = (xs: readonly Value[]): Value => xs.reduce((sum, x) => op.Add(sum, x))
const negated = (x: Value): Value => op.Sub(scalar(x.dtype, 0), x)
const truncated = (x: Value): Value => op.Where(op.Less(x, 0), op.Ceil(x), op.Floor(x))
/** -1, 0 or 1; what is not a number stays so. */
const sign = (x: Value): Value => op.Where(op.Greater(x, 0), 1, op.Where(op.Less(x, 0), -1, x))

/** a - b trunc(a / b), which has the sign of a. A quotient that was rounded to the next whole number is noticed and mended. */
function fmod(a: Value, b: Value): Value {
  const remainder = op.Sub(a, op.Mul(b, isFloat(a.dtype) ? truncated(op.Div(a, b)) : op.Div(a, b)))
  if (!isFloat(a.dtype)) return remainder
  const step = op.Mul(sign(a), op.Abs(b))
  const low = op.Where(op.Less(op.Mul(remainder, sign(a)), 0), op.Add(remainder, step), remainder)
  return op.Where(op.GreaterOrEqual(op.Abs(low), op.Abs(b)), op.Sub(low, step), low)
}

/** With the sign of b, as Python has it. */
function mod(a: Value, b: Value): Value {
  const remainder = fmod(a, b)
  const other = op.Less(op.Mul(sign(remainder), sign(b)), 0)
  return op.Where(other, op.Add(remainder, b), remainder)
}

/** The nearest whole number, of two that are as near the even one. */
function rounded(x: Value): Value {
  const floor = op.Floor(x)
  const rest = op.Sub(x, floor)
  const half = op.Mul(floor, 0.5)
  const odd = op.Sub(floor, op.Mul(op.Floor(half), 2))
  const tie = op.Where(op.Equal(rest, 0.5), odd, 0)
  return op.Add(floor, op.Where(op.Greater(rest, 0.5), 1, tie))
}

/** Of two types: that of the floating-point one, for the time being. */
const power = (x: Value, exponent: Value): Value =>
  isFloat(x.dtype) || !isFloat(exponent.dtype)
    ? op.Pow(x, cast(exponent, x.dtype))
    : cast(op.Pow(cast(x, exponent.dtype), exponent), x.dtype)

export const elementwiseLowerings = {
  Sum: ([...xs]) => total(xs),
  Mean: ([...xs]) => op.Mul(total(xs), 1 / xs.length),
  Sign: ([x]) => sign(x),
  Mod: ([a, b], { fmod: truncating }) => (truncating ? fmod(a, b) : mod(a, b)),
  Round: ([x]) => rounded(x),
  Neg: ([x]) => (isFloat(x.dtype) ? null : negated(x)),
  Abs: ([x]) => (isFloat(x.dtype) ? null : op.Max([x, negated(x)])),
  Pow: ([x, exponent]) => (x.dtype === exponent.dtype ? null : power(x, exponent)),
  Identity: ([x]) => x,
  // To int64 is to int32: see `Lowerer`.
  Cast: ([x], { to }) => (to === INT64 ? cast(x, 'int32') : null),
  CastLike: ([x, target]) => cast(x, target.dtype),
} satisfies Lowerings<typeof elementwise>

const INT64 = 7
