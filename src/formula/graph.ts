import { dtypes } from '../ir/dtype.js'
import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/index.js'
import type { Arithmetic, Formula, Term } from './formula.js'

/** Values by the name a formula has for them. */
export type Values = Readonly<Record<string, Value>>

/**
 * A formula as part of a graph: its results from the values of its arrays, all of one shape, and of its scalars, which have
 * no axes. Only operators that every execution provider has a float32 kernel for are used. A term that several results
 * share is computed once.
 */
export function formulaGraph(
  { outputs, arrays: read }: Formula,
  arrays: Values,
  scalars: Values,
): Record<string, Value> {
  const known = new Map<Term, Value | number>()
  const evaluate = (term: Term): Value | number => {
    if (term.kind === 'constant') return term.value
    if (term.kind === 'array') return arrays[term.name]!
    if (term.kind === 'scalar') return scalars[term.name]!
    let result = known.get(term)
    if (result === undefined) {
      const of = term.of.map(evaluate)
      const numbers = of.filter((x): x is number => typeof x === 'number')
      result = numbers.length === of.length ? folded(term.f, numbers) : applied[term.f](of as Operands)
      known.set(term, result)
    }
    return result
  }
  const like = read[0] === undefined ? undefined : arrays[read[0]]!.shape
  return Object.fromEntries(
    Object.entries(outputs).map(([name, term]) => {
      const found = evaluate(term)
      const value = typeof found === 'number' ? scalar('float32', found) : found
      // What depends on scalars only is the same for all elements.
      const spread = like !== undefined && value.shape?.length !== like.length
      return [name, spread ? op.Expand(value, like as readonly number[]) : value]
    }),
  )
}

/** At least one of them a value. */
type Operands = [Value, Value]

const FLOAT = dtypes.float32.onnx
const toFloat = (condition: Value): Value => op.Cast(condition, { to: FLOAT })

const applied: Readonly<Record<Arithmetic, (of: Operands) => Value>> = {
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

const arithmetic: Readonly<Record<Arithmetic, (a: number, b: number) => number>> = {
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

const folded = (f: Arithmetic, [a, b]: readonly number[]): number => arithmetic[f](a!, b!)
