import type { FloatArray } from '../../ir/float-array.js'
import type { Formula } from './expr.js'
import { interpret } from './interpreter.js'
import type { Arrays, Kernel, Scalars } from './program.js'
import { compileFormula } from './wasm/compile.js'

/** What a formula reads and writes by name, of one tensor after the other. */
export type Columns = Readonly<Record<string, readonly Elements[]>>

type Elements = FloatArray | Uint8Array

/** Tensors up to so many elements are computed together: a call of a kernel takes as long as some hundred elements do. */
const SMALL = 192
/** Elements that are computed together. */
const TOGETHER = 4096

/**
 * `evaluate` of many tensors that have the scalars in common, and no array. Small ones are gathered and computed by one
 * call, which changes no element.
 * @returns sums over all of them
 */
export function evaluate(formula: Formula, columns: Columns, scalars: Scalars = {}): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const name of Object.keys(formula.squares)) sums[name] = 0
  const run = (arrays: Arrays) => {
    const found = evaluateOne(formula, arrays, scalars)
    for (const name in sums) sums[name]! += found[name]!
  }
  const names = Object.keys(columns)
  const written = names.filter((name) => Object.hasOwn(formula.outputs, name))
  const leading = columns[names[0]!]!
  let waiting: number[] = []
  let elements = 0
  const alone = (i: number) => run(Object.fromEntries(names.map((name) => [name, columns[name]![i]!])))
  const together = () => {
    if (waiting.length === 1) alone(waiting[0]!)
    else {
      const gathered = names.map((name, k) => gather(columns[name]!, waiting, scratchLike(columns[name]![0]!, k)))
      run(Object.fromEntries(names.map((name, k) => [name, gathered[k]!.subarray(0, elements)])))
      for (const name of written) scatter(gathered[names.indexOf(name)]!, columns[name]!, waiting)
    }
    waiting = []
    elements = 0
  }
  for (let i = 0; i < leading.length; i++) {
    const { length } = leading[i]!
    if (length > SMALL || names.some((name) => columns[name]![i] instanceof Float64Array)) {
      alone(i)
      continue
    }
    if (elements + length > TOGETHER) together()
    waiting.push(i)
    elements += length
  }
  if (waiting.length > 0) together()
  return sums
}

/** Every call is over before the next begins: what is gathered in them need not outlive one. */
const scratch = { bytes: [] as Uint8Array[], floats: [] as Float32Array[] }

function scratchLike(array: Elements, k: number): Elements {
  if (array instanceof Uint8Array) {
    scratch.bytes[k] ??= new Uint8Array(TOGETHER)
    return scratch.bytes[k]
  }
  scratch.floats[k] ??= new Float32Array(TOGETHER)
  return scratch.floats[k]
}

function gather(column: readonly Elements[], tensors: readonly number[], into: Elements): Elements {
  let at = 0
  for (const i of tensors) {
    const array = column[i]!
    for (let j = 0; j < array.length; j++) into[at++] = array[j]!
  }
  return into
}

function scatter(from: Elements, column: readonly Elements[], tensors: readonly number[]): void {
  let at = 0
  for (const i of tensors) {
    const array = column[i]!
    for (let j = 0; j < array.length; j++) array[j] = from[at++]!
  }
}

/** A formula's kernels by what they are for. */
interface Kernels {
  readonly names: readonly string[]
  readonly by: Map<number, Kernel>
}

const known = new WeakMap<Formula, Kernels>()

/**
 * Computes a formula over host arrays, in place: in single precision where all arrays are float32 or bytes, in double
 * precision where one is float64; and in double precision, slowly, where WebAssembly is refused.
 * @param arrays everything the formula reads and writes, of one length; an output may replace an array that is read
 * @param scalars every scalar of the formula
 * @returns the sums of squares by name
 */
export function evaluateOne(formula: Formula, arrays: Arrays, scalars: Scalars = {}): Readonly<Record<string, number>> {
  let kernels = known.get(formula)
  if (!kernels) {
    kernels = { names: [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])], by: new Map() }
    known.set(formula, kernels)
  }
  const { names, by } = kernels
  const kind = kindOf(names, arrays)
  let kernel = by.get(kind)
  if (!kernel) {
    const bytes = new Set(names.filter((name) => arrays[name] instanceof Uint8Array))
    kernel = compileFormula(formula, { precision: kind < 0 ? 'double' : 'single', bytes }) ?? interpret(formula)
    by.set(kind, kernel)
  }
  return kernel(arrays, scalars)
}

/** What a kernel depends on: which arrays are bytes, as the digits of a number; negative where one is in double precision. */
function kindOf(names: readonly string[], arrays: Arrays): number {
  let bytes = 1
  let sign = 1
  for (let i = 0; i < names.length; i++) {
    const array = arrays[names[i]!]
    if (array instanceof Float64Array) sign = -1
    bytes = 2 * bytes + (array instanceof Uint8Array ? 1 : 0)
  }
  return sign * bytes
}
