import { dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { Expr, Formula, Op } from './expr.js'

/** What a formula reads, by name: values, or numbers that are known when the graph is made. */
export type Operands = Readonly<Record<string, Value | number>>

/** What a formula gives, by name. */
export interface FormulaValues {
  readonly outputs: Readonly<Record<string, Value>>
  /** Without axes. */
  readonly squares: Readonly<Record<string, Value>>
}

/**
 * A formula as part of a graph in float32: its results from its arrays, all of one shape, whose dims are known, and from
 * its scalars, which have no axes. Only operators that every execution provider has a kernel for are used. A term that
 * several results share is computed once.
 */
export function formulaToOnnx(
  { outputs, squares, arrays: read }: Formula,
  arrays: Readonly<Record<string, Value>>,
  scalars: Operands = {},
): FormulaValues {
  const known = new Map<Expr, Value | number>()
  const evaluate = (term: Expr): Value | number => {
    if (term.kind === 'constant') return term.value
    if (term.kind === 'array') return arrays[term.name]!
    if (term.kind === 'scalar') return scalars[term.name]!
    let result = known.get(term)
    if (result === undefined) {
      result = applyOp(term.f, term.of.map(evaluate))
      known.set(term, result)
    }
    return result
  }
  const dims = read[0] === undefined ? [] : (arrays[read[0]]!.shape as readonly number[])
  const spread = (term: Expr): Value => {
    const found = evaluate(term)
    const value = typeof found === 'number' ? scalar('float32', found) : found
    // What depends on scalars only is the same for all elements.
    return value.shape?.length === dims.length ? value : op.Expand(value, dims)
  }
  const each = <T>(terms: Readonly<Record<string, T>>, f: (term: T) => Value) =>
    Object.fromEntries(Object.entries(terms).map(([name, term]) => [name, f(term)]))
  return { outputs: each(outputs, spread), squares: each(squares, (term) => sumElements(spread(term), 'squares')) }
}

function applyOp(f: Op, of: readonly (Value | number)[]): Value | number {
  const numbers = of.filter((x) => typeof x === 'number')
  if (numbers.length === of.length) return onNumbers[f](numbers[0]!, numbers[1]!)
  if (f === 'mul' && numbers[0] === 1) return of.find((x) => x !== 1)!
  return onValues[f](of as [Value, Value])
}

const FLOAT = dtypes.float32.onnx
const toFloat = (condition: Value): Value => op.Cast(condition, { to: FLOAT })

/** Of the operands one at least is a value. */
const onValues: Readonly<Record<Op, (of: [Value, Value]) => Value>> = {
  add: ([a, b]) => op.Add(a, b),
  sub: ([a, b]) => op.Sub(a, b),
  mul: ([a, b]) => op.Mul(a, b),
  div: ([a, b]) => op.Div(a, b),
  min: (of) => op.Min(of),
  max: (of) => op.Max(of),
  atMost: ([a, b]) => toFloat(op.LessOrEqual(a, b)),
  sqrt: ([x]) => op.Sqrt(x),
  abs: ([x]) => op.Abs(x),
  // Sign itself is no WebGPU kernel.
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

/** The largest float32: what is not at most this is infinite or NaN. */
export const FLOAT32_MAX = 3.4028234663852886e38

/**
 * The sum over all elements of x, whose dims are known, as a scalar: in two stages of about the root of their number, for
 * in float32 one long sum would lose digits, and on a GPU one work group would do all of it.
 * @param of what is summed: the elements or their squares
 */
export function sumElements(x: Value, of: 'elements' | 'squares' = 'elements'): Value {
  const length = sizeOf(x.shape as readonly number[])
  const reduce = of === 'squares' ? op.ReduceSumSquare : op.ReduceSum
  if (length <= ONE_STAGE) return reduce(op.Reshape(x, [length]), [0], { keepdims: 0 })
  const columns = columnsFor(length)
  const rows = Math.ceil(length / columns)
  const flat = op.Reshape(x, [length])
  const whole = rows * columns === length ? flat : op.Pad(flat, [0, rows * columns - length])
  return op.ReduceSum(reduce(op.Reshape(whole, [rows, columns]), [1], { keepdims: 0 }), [0], { keepdims: 0 })
}

const ONE_STAGE = 1024

/** A divisor near the root of `length`, else the root itself, for an array to be padded. */
function columnsFor(length: number): number {
  const root = Math.ceil(Math.sqrt(length))
  for (let columns = root; columns <= 4 * root; columns++) if (length % columns === 0) return columns
  return root
}
