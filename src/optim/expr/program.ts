import type { FloatArray } from '../../ir/float-array.js'
import type { Expr, Formula, Op } from './expr.js'

/** What a formula reads and writes, by name, all of one length. Bytes hold a mask, of 0 and 1. */
export type Arrays = Readonly<Record<string, FloatArray | Uint8Array>>

/** The numbers that are the same for all elements, by name. */
export type Scalars = Readonly<Record<string, number>>

/** A formula made ready to be computed: it writes the outputs in place and returns the sums of squares by name. */
export type Kernel = (arrays: Arrays, scalars: Scalars) => Readonly<Record<string, number>>

/** One value of a program; operands are indices of earlier ones. */
export type Value = Exclude<Expr, { kind: 'call' }> | Call

/** A value computed from earlier ones. */
export interface Call {
  readonly kind: 'call'
  readonly f: Op
  readonly of: readonly number[]
}

/** A formula written out in the order in which it is computed, every value once. */
export interface Program {
  readonly values: readonly Value[]
  /** Whether a value is the same for all elements. */
  readonly uniform: readonly boolean[]
  /** The indices of the formula's outputs. */
  readonly outputs: Readonly<Record<string, number>>
  /** The indices of its `squares`. */
  readonly squares: Readonly<Record<string, number>>
}

const programs = new WeakMap<Formula, Program>()

/** The program of a formula: equal terms become one value, whether or not they are one object. */
export function linearize(formula: Formula): Program {
  const known = programs.get(formula)
  if (known) return known
  const values: Value[] = []
  const uniform: boolean[] = []
  const byTerm = new Map<Expr, number>()
  const byText = new Map<string, number>()
  const indexOf = (term: Expr): number => {
    const known = byTerm.get(term)
    if (known !== undefined) return known
    const value: Value = term.kind === 'call' ? { ...term, of: term.of.map(indexOf) } : term
    const text = textOf(value)
    let index = byText.get(text)
    if (index === undefined) {
      index = values.push(value) - 1
      uniform.push(value.kind === 'call' ? value.of.every((i) => uniform[i]) : value.kind !== 'array')
      byText.set(text, index)
    }
    byTerm.set(term, index)
    return index
  }
  const indices = (terms: Readonly<Record<string, Expr>>) =>
    Object.fromEntries(Object.entries(terms).map(([name, term]) => [name, indexOf(term)]))
  const program = { outputs: indices(formula.outputs), squares: indices(formula.squares), values, uniform }
  programs.set(formula, program)
  return program
}

/** Equal values have equal texts; JSON would take infinity for NaN and -0 for 0. */
const textOf = (value: Value): string =>
  value.kind !== 'constant' ? JSON.stringify(value) : Object.is(value.value, -0) ? '-0' : `${value.value}`
