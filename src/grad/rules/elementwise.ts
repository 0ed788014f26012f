import { isFloat } from '../../ir/dtype.js'
import { constantNumber, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { applyMask } from '../../op/compose/shape.js'
import type { elementwise } from '../../op/definitions/elementwise.js'
import { op } from '../../op/op.js'
import { gradientType } from '../active.js'
import type { Rules } from '../rule.js'

const square = (x: Value): Value => op.Mul(x, x)
const castTo = (dy: Value, x: Value): Value => cast(dy, gradientType(x.dtype))

/**
 * Derivative of x^c with respect to x for the exponents that networks use, without Pow; undefined if c is not
 * constant.
 */
function powerSlope(x: Value, y: Value, c: number | undefined): Value | undefined {
  if (c === 2) return op.Mul(x, 2)
  if (c === 3) return op.Mul(square(x), 3)
  if (c === 0.5) return op.Div(0.5, y)
  if (c === -0.5) return op.Div(op.Mul(y, -0.5), x)
  if (c === -1) return op.Neg(square(y))
  if (c === 1) return scalar(x.dtype, 1)
  if (c === 0) return scalar(x.dtype, 0)
  return c === undefined ? undefined : op.Mul(op.Pow(x, c - 1), c)
}

/** Derivative c x^(c - 1) for any exponent; 0 if c = 0, also at x = 0. */
function slopeOfPower(x: Value, exponent: Value): Value {
  const c = castTo(exponent, x)
  return op.Where(op.Equal(c, 0), 0, op.Mul(c, op.Pow(x, op.Sub(c, 1))))
}

/** Derivative of x^c with respect to c: x^c log(x), and 0 for x <= 0, which the logarithm never gets. */
function slopeOfExponent(x: Value, y: Value): Value {
  const positive = op.Greater(x, 0)
  return op.Where(positive, op.Mul(y, op.Log(op.Where(positive, x, 1))), 0)
}

/**
 * Gradient of Max or Min: the gradient goes to the first operand that attains the extremum y. Each operand takes the
 * gradient that earlier operands left where it equals y. An operand that occurs again gets nothing more.
 */
function toExtremum(xs: readonly Value[], dy: Value, { y }: { readonly y: Value }): readonly (Value | null)[] {
  const distinct = [...new Set(xs)]
  const last = distinct.pop()!
  const dxs = new Map<Value, Value>()
  let left = dy
  for (const x of distinct) {
    const attains = op.Equal(x, y)
    dxs.set(x, op.Where(attains, left, 0))
    left = op.Where(attains, 0, left)
  }
  dxs.set(last, left)
  return xs.map((x) => {
    const dx = dxs.get(x) ?? null
    dxs.delete(x)
    return dx
  })
}

/** Whether the bounds of a Clip are an interval: not if they are unknown numbers that may be the other way around. */
function areOrdered(min: Value | null, max: Value | null): boolean {
  const [low, high] = [constantNumber(min), constantNumber(max)]
  return !min || !max || (low !== undefined && high !== undefined && low <= high)
}

/** Gradient rules of element-wise operators; broadcast axes are summed by the walk. */
export const elementwiseRules = {
  Add: (_, dy) => [dy, dy],
  Sub: (_, dy) => [dy, op.Neg(dy)],
  Mul: ([a, b], dy) => [op.Mul(dy, b), op.Mul(dy, a)],
  Div: ([, b], dy, { y }) => [op.Div(dy, b), op.Neg(op.Div(op.Mul(dy, y), b))],
  // y = a - b q with an integer q: da = dy, db = -dy q.
  Mod: ([a, b], dy, { y }) => [dy, op.Neg(op.Mul(dy, op.Round(op.Div(op.Sub(a, y), b))))],
  Pow: ([x, exponent], dy, { y }) => [
    op.Mul(dy, powerSlope(x, y, constantNumber(exponent)) ?? slopeOfPower(x, exponent)),
    isFloat(exponent.dtype) ? castTo(op.Mul(dy, slopeOfExponent(x, y)), exponent) : null,
  ],
  Neg: (_, dy) => [op.Neg(dy)],
  Abs: ([x], dy) => [op.Mul(dy, op.Sign(x))],
  Sqrt: (_, dy, { y }) => [op.Div(op.Mul(dy, 0.5), y)],
  Reciprocal: (_, dy, { y }) => [op.Neg(op.Mul(dy, square(y)))],
  Exp: (_, dy, { y }) => [op.Mul(dy, y)],
  Log: ([x], dy) => [op.Div(dy, x)],
  Sin: ([x], dy) => [op.Mul(dy, op.Cos(x))],
  Cos: ([x], dy) => [op.Neg(op.Mul(dy, op.Sin(x)))],
  Tan: (_, dy, { y }) => [op.Mul(dy, op.Add(square(y), 1))],
  Asin: ([x], dy) => [op.Div(dy, op.Sqrt(op.Sub(1, square(x))))],
  Acos: ([x], dy) => [op.Neg(op.Div(dy, op.Sqrt(op.Sub(1, square(x)))))],
  Atan: ([x], dy) => [op.Div(dy, op.Add(square(x), 1))],
  Sinh: ([x], dy) => [op.Mul(dy, op.Cosh(x))],
  Cosh: ([x], dy) => [op.Mul(dy, op.Sinh(x))],
  Tanh: (_, dy, { y }) => [op.Mul(dy, op.Sub(1, square(y)))],
  Asinh: ([x], dy) => [op.Div(dy, op.Sqrt(op.Add(square(x), 1)))],
  Acosh: ([x], dy) => [op.Div(dy, op.Sqrt(op.Sub(square(x), 1)))],
  Atanh: ([x], dy) => [op.Div(dy, op.Sub(1, square(x)))],
  Erf: ([x], dy) => [op.Mul(dy, op.Mul(op.Exp(op.Neg(square(x))), 2 / Math.sqrt(Math.PI)))],
  Min: toExtremum,
  Max: toExtremum,
  Sum: (xs, dy) => xs.map(() => dy),
  Mean: (xs, dy) => Array(xs.length).fill(op.Mul(dy, 1 / xs.length)),
  // y = x exactly inside the closed interval. If min > max, every y is max, also where x is max.
  Clip: ([x, min, max], dy, { y }) => [
    applyMask(dy, areOrdered(min, max) ? op.Equal(x, y) : op.And(op.Equal(x, y), op.LessOrEqual(min!, max!))),
    min && applyMask(dy, max ? op.And(op.Less(x, min), op.LessOrEqual(min, max)) : op.Less(x, min)),
    max && applyMask(dy, op.Greater(min ? op.Max([x, min]) : x, max)),
  ],
  Where: ([condition], dy) => [null, op.Where(condition, dy, 0), op.Where(condition, 0, dy)],
  Identity: (_, dy) => [dy],
  Cast: ([x], dy) => [castTo(dy, x)],
  CastLike: ([x], dy) => [castTo(dy, x), null],
} satisfies Rules<typeof elementwise>
