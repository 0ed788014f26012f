import type { FloatArray } from '../../ir/float-array.js'
import type { Expr, ExprNode, Formula, Op } from './expr.js'

/** Arrays that a formula reads and writes, by name, all of one length. A Uint8Array holds a mask of 0 and 1. */
export type Arrays = Readonly<Record<string, FloatArray | Uint8Array>>

/** Scalars of a formula by name. */
export type Scalars = Readonly<Record<string, number>>

/** Sums of squares by name. */
export type Sums = Readonly<Record<string, number>>

/** A formula compiled for certain array types: writes the outputs in place and returns the sums of squares. */
export type Kernel = (arrays: Arrays, scalars: Scalars) => Sums

/** One value of a program. */
export type FormulaValue = Exclude<ExprNode, { kind: 'call' }> | FormulaCall

/** A value computed from earlier values. */
export interface FormulaCall {
  readonly kind: 'call'
  readonly op: Op
  /** Indices of earlier values. */
  readonly operands: readonly number[]
}

/** A formula as a list of values in order of computation. Equal expressions are one value. */
export interface FormulaProgram {
  readonly values: readonly FormulaValue[]
  /** Whether a value is the same for all elements, by index. */
  readonly uniform: readonly boolean[]
  /** Index of the value of each output. */
  readonly outputs: Readonly<Record<string, number>>
  /** Index of the value of each sum of squares. */
  readonly squares: Readonly<Record<string, number>>
}

const programs = new WeakMap<Formula, FormulaProgram>()

/**
 * Converts a formula to a program. Structurally equal expressions become one value, even if they are different objects.
 */
export function linearize(formula: Formula): FormulaProgram {
  const known = programs.get(formula)
  if (known) return known
  const values: FormulaValue[] = []
  const uniform: boolean[] = []
  const byExpr = new Map<Expr, number>()
  const byKey = new Map<string, number>()
  const indexOf = (expr: Expr): number => {
    const known = byExpr.get(expr)
    if (known !== undefined) return known
    const { node } = expr
    const value: FormulaValue = node.kind === 'call' ? { ...node, operands: node.operands.map(indexOf) } : node
    const key = keyOf(value)
    let index = byKey.get(key)
    if (index === undefined) {
      index = values.push(value) - 1
      uniform.push(value.kind === 'call' ? value.operands.every((i) => uniform[i]) : value.kind !== 'array')
      byKey.set(key, index)
    }
    byExpr.set(expr, index)
    return index
  }
  const indices = (exprs: Readonly<Record<string, Expr>>) =>
    Object.fromEntries(Object.entries(exprs).map(([name, expr]) => [name, indexOf(expr)]))
  const program = { outputs: indices(formula.outputs), squares: indices(formula.squares), values, uniform }
  programs.set(formula, program)
  return program
}

/** Equal values have equal keys. JSON does not distinguish infinity from NaN, nor -0 from 0. */
const keyOf = (value: FormulaValue): string =>
  value.kind !== 'constant' ? JSON.stringify(value) : Object.is(value.value, -0) ? '-0' : `${value.value}`
