import { dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { applyMask, indicator } from '../../op/compose/shape.js'
import { divideByCount, typeOfCount } from '../../op/compose/statistics.js'
import type { reduction } from '../../op/definitions/reduction.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'

type Attributes = { readonly keepdims: number; readonly noop_with_empty_axes: number }
type Formula = (x: Value, dy: Value, y: Value, over: Over) => Value
/** Reductions over the same axes that keep them. */
type Over = { readonly sum: (x: Value) => Value; readonly product: (x: Value) => Value }

/**
 * Builds the gradient rule of a reduction from a formula. The formula gets `y` and `dy` with reduced axes of length
 * 1, so that they broadcast with `x`.
 */
const reductionRule =
  (formula: Formula) =>
  ([x, axes]: readonly [Value, Value | null], dy: Value, { y, attributes }: { y: Value; attributes: Attributes }) => {
    const { keepdims, noop_with_empty_axes } = attributes
    // Without axes y has one element, or the shape of x, and broadcasts unchanged.
    const unreduced = (value: Value) => (keepdims || axes === null ? value : op.Unsqueeze(value, axes))
    const over: Over = {
      sum: (terms) => op.ReduceSum(terms, axes, { keepdims: 1, noop_with_empty_axes }),
      product: (factors) => op.ReduceProd(factors, axes, { keepdims: 1, noop_with_empty_axes }),
    }
    return [formula(x, unreduced(dy), unreduced(y), over), null] as const
  }

const expandLike = (dy: Value, x: Value): Value => op.Expand(dy, op.Shape(x))

/** Number of elements of `x` per element of `y`, for `divideByCount`. */
function reductionRatio(x: Value, y: Value): Value {
  if (isStatic(x.shape) && isStatic(y.shape)) {
    const ratio = sizeOf(x.shape) / sizeOf(y.shape)
    return scalar(typeOfCount(x.dtype, ratio), ratio)
  }
  const count = (value: Value) => op.Cast(op.Size(value), { to: dtypes.float32.onnx })
  return cast(op.Div(count(x), count(y)), typeOfCount(x.dtype))
}

/** Gradient of ReduceMax and ReduceMin: elements that attain the extremum share dy equally. */
const extremumGradient: Formula = (x, dy, y, { sum }) => {
  const attains = indicator(op.Equal(x, y), x)
  return op.Mul(attains, op.Div(dy, sum(attains)))
}

/** Gradient of ReduceProd: dy times the product of the other factors, also if x or one of them is 0. */
const productGradient: Formula = (x, dy, _, { sum, product }) => {
  const zero = indicator(op.Equal(x, 0), x)
  const factors = op.Add(x, zero)
  const otherZeros = op.Sub(sum(zero), zero)
  return applyMask(op.Div(op.Mul(dy, product(factors)), factors), op.Equal(otherZeros, 0))
}

/**
 * Gradient of CumProd: dx_j is the sum, over all products y_i that contain x_j, of dy_i times the other factors.
 * These are y_i / x_j; for x_j = 0 they are the product of the nonzero factors if x_j is the only zero, and 0
 * otherwise.
 */
function cumulativeProductGradient(
  x: Value,
  axis: Value,
  dy: Value,
  y: Value,
  { exclusive, reverse }: { readonly exclusive: number; readonly reverse: number },
): Value {
  const from = (terms: Value) => op.CumSum(terms, axis, { exclusive, reverse: 1 - reverse })
  const isZero = op.Equal(x, 0)
  const zero = indicator(isZero, x)
  const factors = op.Add(x, zero)
  const zeros = op.CumSum(zero, axis, { exclusive, reverse })
  const nonZero = op.CumProd(factors, axis, { exclusive, reverse })
  return op.Where(
    isZero,
    from(applyMask(op.Mul(dy, nonZero), op.Equal(zeros, 1))),
    op.Div(from(op.Mul(dy, y)), factors),
  )
}

export const reductionRules = {
  ReduceSum: reductionRule((x, dy) => expandLike(dy, x)),
  ReduceMean: reductionRule((x, dy, y) => expandLike(divideByCount(dy, reductionRatio(x, y)), x)),
  ReduceMax: reductionRule(extremumGradient),
  ReduceMin: reductionRule(extremumGradient),
  ReduceProd: reductionRule(productGradient),
  ReduceL1: reductionRule((x, dy) => op.Mul(op.Sign(x), dy)),
  // dx = dy x / y, and 0 if every x is 0.
  ReduceL2: reductionRule((x, dy, y) => op.Mul(x, op.Div(dy, op.Where(op.Equal(y, 0), 1, y)))),
  ReduceLogSum: reductionRule((x, dy, y) => expandLike(op.Mul(dy, op.Exp(op.Neg(y))), x)),
  // dx = dy e^(x - y), and 0 if every x is minus infinity.
  ReduceLogSumExp: reductionRule((x, dy, y) =>
    op.Mul(op.Exp(op.Sub(x, op.Where(op.Equal(y, Number.NEGATIVE_INFINITY), 0, y))), dy),
  ),
  ReduceSumSquare: reductionRule((x, dy) => op.Mul(x, op.Mul(dy, 2))),
  CumSum: ([, axis], dy, { attributes: { exclusive, reverse } }) => [
    op.CumSum(dy, axis, { exclusive, reverse: 1 - reverse }),
    null,
  ],
  CumProd: ([x, axis], dy, { y, attributes }) => [cumulativeProductGradient(x, axis, dy, y, attributes), null],
  TopK: ([x], [dy], { y: [, indices], attributes: { axis } }) => [
    dy && op.ScatterElements(op.Expand(scalar(x.dtype, 0), op.Shape(x)), indices, dy, { axis }),
    null,
  ],
} satisfies Rules<typeof reduction>
