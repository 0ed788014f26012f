import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { applyMask, lengthAlong } from '../../op/compose/shape.js'
import type { linalg } from '../../op/definitions/linalg.js'
import { ellipsis, formatEinsum, parseEinsum } from '../../op/einsum.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { sumTo } from '../broadcast.js'
import type { Rules } from '../rule.js'

/** Swaps the last two axes. If the rank is unknown, onnxruntime rejects fewer than two axes when it runs. */
function transposeLastTwo(x: Value): Value {
  if (!x.shape) return op.Einsum([x], { equation: '...ij->...ji' })
  const axes = x.shape.map((_, axis) => axis)
  return op.Transpose(x, { perm: [...axes.slice(0, -2), axes.length - 1, axes.length - 2] })
}

/** Gradients of Y = A B for operands with two or more axes: dA = dY B^T, dB = A^T dY. */
function matMulGradients(a: Value, b: Value, dy: Value): [da: Value, db: Value] {
  if (b.shape?.length !== 2) return [op.MatMul(dy, transposeLastTwo(b)), op.MatMul(transposeLastTwo(a), dy)]
  if (a.shape?.length === 2) return [op.Gemm(dy, b, { transB: 1 }), op.Gemm(a, dy, { transA: 1 })]
  // A weight matrix and an activation with leading axes: both gradients are single products of flattened matrices.
  const rows = op.Flatten(dy, { axis: -1 })
  return [
    op.Reshape(op.Gemm(rows, b, { transB: 1 }), op.Shape(a)),
    op.Gemm(op.Flatten(a, { axis: -1 }), rows, { transA: 1 }),
  ]
}

/**
 * Gradients of MatMul. A 1-D operand gets the axis that MatMul adds (a row on the left, a column on the right) and
 * loses it again.
 */
function matMulRule(a: Value, b: Value, dy: Value): [da: Value, db: Value] {
  const [row, column] = [a.shape?.length === 1, b.shape?.length === 1]
  if (!row && !column) return matMulGradients(a, b, dy)
  const columns = column ? op.Unsqueeze(dy, [-1]) : dy
  const [da, db] = matMulGradients(
    row ? op.Unsqueeze(a, [0]) : a,
    column ? op.Unsqueeze(b, [-1]) : b,
    row ? op.Unsqueeze(columns, [-2]) : columns,
  )
  return [row ? op.Squeeze(da, [-2]) : da, column ? op.Squeeze(db, [-1]) : db]
}

/**
 * Gradient of y = einsum(x_1 .. x_n -> out) with respect to x_i: the contraction of dy with the other operands, onto
 * the labels of x_i. It is constant along summed axes that no other operand has (or has with length 1). If an operand
 * repeats a label, only its diagonal was read, and the gradient is 0 outside it.
 */
function einsumGradient(xs: readonly Value[], index: number, dy: Value, equation: string): Value {
  const { operands, output } = parseEinsum(
    equation,
    xs.map((x) => x.shape),
  )
  const [x, labels] = [xs[index]!, operands[index]!]
  const others = xs.map((_, other) => other).filter((other) => other !== index)
  const terms = [output, ...others.map((other) => operands[other]!)]
  const reached = [...new Set(labels)].filter((label) => terms.some((term) => term.includes(label)))
  const dx = op.Einsum([dy, ...others.map((other) => xs[other]!)], { equation: formatEinsum(terms, reached) })
  const repeated = labels.flatMap((label, at) => (labels.indexOf(label) < at ? [at] : []))
  const absent = labels.flatMap((label, at) => {
    // An ellipsis that the result lacks represents no axis; otherwise onnxruntime rejects the equation.
    if (label === ellipsis || (reached.includes(label) && !repeated.includes(at))) return []
    return [labels.slice(0, at).includes(ellipsis) ? at - labels.length : at]
  })
  const whole = absent.length > 0 ? op.Unsqueeze(dx, absent) : dx
  const read = repeated.reduce((dx, at) => applyMask(dx, diagonalMask(x, labels, at, equation)), whole)
  const hasShapeOfX = read.shape?.every((dim, axis) => dim === x.shape?.[axis] || x.shape?.[axis] === 1)
  return hasShapeOfX ? read : op.Expand(read, op.Shape(x))
}

/**
 * Mask of the elements of `x` whose index along axis `second` equals that along the first axis with the same label;
 * broadcasts to `x`.
 */
function diagonalMask(x: Value, labels: readonly string[], second: number, equation: string): Value {
  const first = labels.indexOf(labels[second]!)
  const following = labels.slice(first)
  if (following.includes(ellipsis)) {
    const form = `Einsum '${equation}' has no gradient for a diagonal before an ellipsis ('${labels.join('')}')`
    throw new OnnxIreError(
      'not-differentiable',
      `${form} over an unknown number of axes; declare the shape of the model's input`,
    )
  }
  const length = op.Reshape(lengthAlong(x, first - labels.length), int64s([]))
  const indices = op.Range(scalar('int32', 0), op.Cast(length, { to: dtypes.int32.onnx }), scalar('int32', 1))
  const square = op.Equal(op.Unsqueeze(indices, [1]), indices)
  const between = following.flatMap((_, axis) => (axis === 0 || axis === second - first ? [] : [axis]))
  return between.length > 0 ? op.Unsqueeze(square, between) : square
}

/**
 * Cofactors of matrices [..., n, n]: (-1)^(i + j) times the determinant without row i and column j. Unlike the
 * inverse, they exist for singular matrices too. They take n^4 elements of memory.
 */
function cofactors(x: Value): Value {
  const n = op.Reshape(lengthAlong(x, -1), int64s([]))
  const [left, all] = [op.Unsqueeze(op.Range(0, op.Sub(n, 1), 1), [0]), op.Unsqueeze(op.Range(0, n, 1), [1])]
  // Row i: 0, 1, ... n - 1 without i.
  const others = op.Add(left, op.Cast(op.GreaterOrEqual(left, all), { to: dtypes.int64.onnx }))
  const minors = op.Gather(op.Gather(x, others, { axis: -2 }), others, { axis: -1 })
  const even = op.Equal(op.Mod(op.Add(all, op.Transpose(all)), 2), 0)
  return op.Mul(op.Det(swapMiddleAxes(minors)), op.Where(even, scalar(x.dtype, 1), scalar(x.dtype, -1)))
}

/** [..., i, r, j, c] -> [..., i, j, r, c] */
function swapMiddleAxes(x: Value): Value {
  if (!x.shape) return op.Einsum([x], { equation: '...irjc->...ijrc' })
  const axes = x.shape.map((_, axis) => axis)
  const [r, j, c] = axes.slice(-3) as [number, number, number]
  return op.Transpose(x, { perm: [...axes.slice(0, -3), j, r, c] })
}

export const linalgRules = {
  MatMul: ([a, b], dy) => matMulRule(a, b, dy),
  Gemm: ([a, b, c], dy, { attributes: { alpha, beta, transA, transB } }) => [
    transA ? op.Gemm(b, dy, { alpha, transA: transB, transB: 1 }) : op.Gemm(dy, b, { alpha, transB: 1 - transB }),
    transB ? op.Gemm(dy, a, { alpha, transA: 1, transB: transA }) : op.Gemm(a, dy, { alpha, transA: 1 - transA }),
    c && (beta === 1 ? dy : op.Mul(sumTo(dy, c), beta)),
  ],
  Det: ([x], dy) => [op.Mul(op.Unsqueeze(dy, [-2, -1]), cofactors(x))],
  // Y = X^-1: dX = -Y^T dY Y^T
  Inverse: (_, dy, { y }) => [op.Neg(op.MatMul(op.MatMul(transposeLastTwo(y), dy), transposeLastTwo(y)))],
  Einsum: (xs, dy, { attributes: { equation } }) => xs.map((_, index) => einsumGradient(xs, index, dy, equation)),
} satisfies Rules<typeof linalg>
