import { constant, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import { type Dim, isStatic } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import type { linalg } from '../../op/definitions/linalg.js'
import { ellipsis, formatEinsum, parseEinsum } from '../../op/einsum.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/**
 * onnxruntime's Einsum kernel does not broadcast: axes of length 1 are repeated to the length that another operand has.
 */
function repeatBroadcastAxes(operands: readonly Value[], equation: string): Value | null {
  const subscripts = parseEinsum(
    equation,
    operands.map(({ shape }) => shape),
  )
  if (subscripts.operands.some((labels, i) => !operands[i]!.shape || labels.includes(ellipsis))) return null
  const longest = new Map<string, { readonly dim: Dim; readonly length: Value }>()
  for (const [i, labels] of subscripts.operands.entries())
    for (const [axis, label] of labels.entries()) {
      const dim = operands[i]!.shape![axis]!
      if (dim !== 1 || !longest.has(label))
        longest.set(label, {
          dim,
          length: typeof dim === 'number' ? int64s([dim]) : op.Shape(operands[i]!, { start: axis, end: axis + 1 }),
        })
    }
  const short = subscripts.operands.map((labels, i) =>
    labels.some((label, axis) => operands[i]!.shape![axis] === 1 && longest.get(label)!.dim !== 1),
  )
  if (!short.includes(true) && !equation.includes('...')) return null
  const whole = operands.map((x, i) =>
    short[i]
      ? op.Expand(
          x,
          op.Concat(
            subscripts.operands[i]!.map((label) => longest.get(label)!.length),
            { axis: 0 },
          ),
        )
      : x,
  )
  return op.Einsum(whole, { equation: formatEinsum(subscripts.operands, subscripts.output) })
}

/** Largest matrix that is eliminated by a graph: its number of nodes grows with the number of rows. */
const maxEliminatedRows = 16

/** Number n of rows of matrices [..., n, n], if it is known and not too large. */
function rowsOf({ shape }: Value): number | null {
  const n = shape?.at(-1)
  return typeof n === 'number' && n > 0 && n <= maxEliminatedRows ? n : null
}

/**
 * Gauss-Jordan elimination with partial pivoting of matrices [..., n, m] to the identity in the first n columns, and
 * the determinant of those: [..., 1, 1]. The matrices are singular where it is 0; elements there are not defined.
 */
function eliminate(x: Value, n: number): { readonly reduced: Value; readonly determinant: Value } {
  const rows = (has: (row: number) => boolean) =>
    constant(
      tensorFrom(
        'bool',
        [n, 1],
        Array.from({ length: n }, (_, row) => (has(row) ? 1 : 0)),
      ),
    )
  const triangle = Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) ? 1 : 0))
  const upToHere = constant(tensorFrom(x.dtype, [n, n], triangle))
  let a = x
  let determinant: Value | undefined
  for (let k = 0; k < n; k++) {
    const column = op.Slice(a, [k], [k + 1], [-1])
    const sizes = op.Where(
      rows((row) => row >= k),
      op.Abs(column),
      scalar(x.dtype, -1),
    )
    const isLargest = op.Equal(sizes, op.ReduceMax(sizes, [-2], { keepdims: 1 }))
    // The first of several.
    const counts = op.MatMul(upToHere, cast(isLargest, x.dtype))
    const isPivot = op.And(isLargest, op.Equal(counts, scalar(x.dtype, 1)))
    const pivotRow = op.ReduceSum(op.Where(isPivot, a, scalar(x.dtype, 0)), [-2], { keepdims: 1 })
    const pivot = op.Slice(pivotRow, [k], [k + 1], [-1])
    const isHere = rows((row) => row === k)
    const swapped = op.Where(isPivot, op.Slice(a, [k], [k + 1], [-2]), a)
    const isUnswapped = op.Slice(isPivot, [k], [k + 1], [-2])
    const signed = op.Where(isUnswapped, pivot, op.Neg(pivot))
    determinant = determinant ? op.Mul(determinant, signed) : signed
    const scaled = op.Div(pivotRow, op.Where(op.Equal(pivot, scalar(x.dtype, 0)), scalar(x.dtype, 1), pivot))
    const factors = op.Slice(swapped, [k], [k + 1], [-1])
    a = op.Where(isHere, scaled, op.Sub(swapped, op.Mul(factors, scaled)))
  }
  return { reduced: a, determinant: determinant! }
}

function inverse(x: Value): Value | null {
  const n = rowsOf(x)
  if (n === null || !isStatic(x.shape)) return null
  const identity = tensorFrom(
    x.dtype,
    [n, n],
    Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
  )
  const whole = op.Concat([x, op.Expand(constant(identity), int64s(x.shape))], { axis: -1 })
  return op.Slice(eliminate(whole, n).reduced, [n], [2 * n], [-1])
}

export const linalgLowerings = {
  Det: ([x]) => {
    const n = rowsOf(x)
    return n === null ? null : op.Squeeze(eliminate(x, n).determinant, [-2, -1])
  },
  Inverse: ([x]) => inverse(x),
  Einsum: ([...operands], { equation }) => repeatBroadcastAxes(operands, equation),
} satisfies Lowerings<typeof linalg>
