import { dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { indicator, masked } from '../../op/compose/mask.js'
import type { reduction } from '../../op/definitions/reduction.js'
import { op } from '../../op/op.js'
import type { Rules } from '../rule.js'

type Attributes = { readonly keepdims: number; readonly noop_with_empty_axes: number }
type Formula = (x: Value, dy: Value, y: Value, over: Over) => Value
/** Reductions over the same axes that keep them. */
type Over = { readonly sum: (x: Value) => Value; readonly product: (x: Value) => Value }

/**
 * A reduction's rule from its formula, which sees `y` and `dy` with the reduced axes kept as 1, so that they broadcast against
 * `x`.
 */
const reductionRule =
  (formula: Formula) =>
  ([x, axes]: readonly [Value, Value | null], dy: Value, { y, attributes }: { y: Value; attributes: Attributes }) => {
    const { keepdims, noop_with_empty_axes } = attributes
    // Without axes y has one element, or all of x's, and broadcasts as it is.
    const kept = (value: Value) => (keepdims || axes === null ? value : op.Unsqueeze(value, axes))
    const over: Over = {
      sum: (terms) => op.ReduceSum(terms, axes, { keepdims: 1, noop_with_empty_axes }),
      product: (factors) => op.ReduceProd(factors, axes, { keepdims: 1, noop_with_empty_axes }),
    }
    return [formula(x, kept(dy), kept(y), over), null] as const
  }

const expandLike = (dy: Value, x: Value): Value => op.Expand(dy, op.Shape(x))

/** How many elements of `x` go into one of `y`, counted in float32 as float16 ends at 65504. */
function reductionRatio(x: Value, y: Value): Value {
  if (isStatic(x.shape) && isStatic(y.shape)) return scalar(x.dtype, sizeOf(x.shape) / sizeOf(y.shape))
  const count = (value: Value) => op.Cast(op.Size(value), { to: dtypes.float32.onnx })
  const ratio = op.Div(count(x), count(y))
  return x.dtype === 'float32' ? ratio : op.Cast(ratio, { to: dtypes[x.dtype].onnx })
}

/** Elements that attain an extremum share its gradient evenly. */
const extremumGradient: Formula = (x, dy, y, { sum }) => {
  const attains = indicator(op.Equal(x, y), x)
  return op.Mul(attains, op.Div(dy, sum(attains)))
}

/** The product of the other factors: 0 where one of those is, also for a factor that is 0 itself. */
const productGradient: Formula = (x, dy, _, { sum, product }) => {
  const zero = indicator(op.Equal(x, 0), x)
  const factors = op.Add(x, zero)
  const otherZeros = op.Sub(sum(zero), zero)
  return masked(op.Div(op.Mul(dy, product(factors)), factors), op.Equal(otherZeros, 0))
}

/**
 * The sum over all products y_i that x_j is a factor of, of dy_i times the other factors: y_i / x_j, and for x_j = 0 the
 * product of the factors that are not, where x_j is the only one that is.
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
  return op.Where(isZero, from(masked(op.Mul(dy, nonZero), op.Equal(zeros, 1))), op.Div(from(op.Mul(dy, y)), factors))
}

export const reductionRules = {
  ReduceSum: reductionRule((x, dy) => expandLike(dy, x)),
  ReduceMean: reductionRule((x, dy, y) => expandLike(op.Div(dy, reductionRatio(x, y)), x)),
  ReduceMax: reductionRule(extremumGradient),
  ReduceMin: reductionRule(extremumGradient),
  ReduceProd: reductionRule(productGradient),
  ReduceL1: reductionRule((x, dy) => op.Mul(op.Sign(x), dy)),
  // x / y, and 0 where every x is.
  ReduceL2: reductionRule((x, dy, y) => op.Mul(x, op.Div(dy, op.Where(op.Equal(y, 0), 1, y)))),
  ReduceLogSum: reductionRule((x, dy, y) => expandLike(op.Mul(dy, op.Exp(op.Neg(y))), x)),
  // e^(x - y), and 0 where every x is minus infinity.
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
