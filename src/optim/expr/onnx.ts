import { dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { Expr, Formula, Op } from './expr.js'

/** Scalars of a formula by name: values of the graph, or fixed numbers. */
export type Operands = Readonly<Record<string, Value | number>>

/** Results of a formula in a graph, by name. */
export interface FormulaValues {
  readonly outputs: Readonly<Record<string, Value>>
  /** Scalars. */
  readonly squares: Readonly<Record<string, Value>>
}

/**
 * Adds a formula to a float32 graph. The arrays have one static shape, the scalars have rank 0. Uses only operators
 * that every execution provider implements. A shared expression is computed once.
 */
export function formulaToOnnx(
  { outputs, squares, arrays: read }: Formula,
  arrays: Readonly<Record<string, Value>>,
  scalars: Operands = {},
): FormulaValues {
  const known = new Map<Expr, Value | number>()
  const build = (expr: Expr): Value | number => {
    const { node } = expr
    if (node.kind === 'constant') return node.value
    if (node.kind === 'array') return arrays[node.name]!
    if (node.kind === 'scalar') return scalars[node.name]!
    let result = known.get(expr)
    if (result === undefined) {
      result = applyOp(node.op, node.operands.map(build))
      known.set(expr, result)
    }
    return result
  }
  const dims = read[0] === undefined ? [] : (arrays[read[0]]!.shape as readonly number[])
  const buildElements = (expr: Expr): Value => {
    const built = build(expr)
    const value = typeof built === 'number' ? scalar('float32', built) : built
    // An expression of scalars only is the same for all elements.
    return value.shape?.length === dims.length ? value : op.Expand(value, dims)
  }
  const mapExprs = (exprs: Readonly<Record<string, Expr>>, f: (expr: Expr) => Value) =>
    Object.fromEntries(Object.entries(exprs).map(([name, expr]) => [name, f(expr)]))
  return {
    outputs: mapExprs(outputs, buildElements),
    squares: mapExprs(squares, (expr) => sumElements(buildElements(expr), 'squares')),
  }
}

function applyOp(name: Op, operands: readonly (Value | number)[]): Value | number {
  const numbers = operands.filter((x) => typeof x === 'number')
  if (numbers.length === operands.length) return onNumbers[name](numbers[0]!, numbers[1]!)
  if (name === 'mul' && numbers[0] === 1) return operands.find((x) => x !== 1)!
  return onValues[name](operands as [Value, Value])
}

const float32Type = dtypes.float32.onnx
const toFloat = (condition: Value): Value => op.Cast(condition, { to: float32Type })

/** At least one operand is a value of the graph. */
const onValues: Readonly<Record<Op, (operands: [Value, Value]) => Value>> = {
  add: ([a, b]) => op.Add(a, b),
  sub: ([a, b]) => op.Sub(a, b),
  mul: ([a, b]) => op.Mul(a, b),
  div: ([a, b]) => op.Div(a, b),
  min: (operands) => op.Min(operands),
  max: (operands) => op.Max(operands),
  atMost: ([a, b]) => toFloat(op.LessOrEqual(a, b)),
  sqrt: ([x]) => op.Sqrt(x),
  abs: ([x]) => op.Abs(x),
  // onnxruntime has no WebGPU kernel for Sign.
  sign: ([x]) => op.Sub(toFloat(op.Greater(x, 0)), toFloat(op.Less(x, 0))),
}

const onNumbers: Readonly<Record<Op, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
  atMost: (a, b) => (a <= b ? 1 : 0),
  sqrt: (a) => Math.sqrt(a),
  abs: (a) => Math.abs(a),
  sign: (a) => Math.sign(a),
}

/**
 * Sums all elements of x, of static shape, to a scalar. Two stages of about sqrt(n) elements: one long float32 sum
 * would lose digits, and on a GPU one workgroup would compute all of it.
 * @param of 'squares' sums the squares of the elements
 */
export function sumElements(x: Value, of: 'elements' | 'squares' = 'elements'): Value {
  const length = sizeOf(x.shape as readonly number[])
  const reduce = of === 'squares' ? op.ReduceSumSquare : op.ReduceSum
  if (length <= maxOneStageElements) return reduce(op.Reshape(x, [length]), [0], { keepdims: 0 })
  const columns = columnsFor(length)
  const rows = Math.ceil(length / columns)
  const flat = op.Reshape(x, [length])
  const whole = rows * columns === length ? flat : op.Pad(flat, [0, rows * columns - length])
  return op.ReduceSum(reduce(op.Reshape(whole, [rows, columns]), [1], { keepdims: 0 }), [0], { keepdims: 0 })
}

/** Elements up to which one stage is enough. */
const maxOneStageElements = 1024

/** A divisor of `length` near its square root; if there is no such divisor the root itself, and the array is padded. */
function columnsFor(length: number): number {
  const root = Math.ceil(Math.sqrt(length))
  for (let columns = root; columns <= 4 * root; columns++) if (length % columns === 0) return columns
  return root
}
