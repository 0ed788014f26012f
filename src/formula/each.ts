import type { FloatArray } from '../ir/float-array.js'
import { evaluate } from './evaluate.js'
import type { Formula } from './formula.js'
import type { Arrays, Scalars } from './kernel.js'

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
export function evaluateEach(
  formula: Formula,
  columns: Columns,
  scalars: Scalars = {},
): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const name of Object.keys(formula.squares)) sums[name] = 0
  const run = (arrays: Arrays) => {
    const found = evaluate(formula, arrays, scalars)
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
