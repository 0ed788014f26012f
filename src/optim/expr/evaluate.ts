import type { FloatArray } from '../../ir/float-array.js'
import type { Formula } from './expr.js'
import { interpret } from './interpreter.js'
import type { Arrays, Kernel, Scalars } from './program.js'
import { compileFormula } from './wasm/compile.js'

/** Arrays that a formula reads and writes, by name: one per tensor, in the same order under every name. */
export type TensorArrays = Readonly<Record<string, readonly Elements[]>>

type Elements = FloatArray | Uint8Array

/** Largest length of a tensor that is batched with others: a kernel call costs as much as some hundred elements. */
export const SMALL_TENSOR = 192
/** Elements of one batch of small tensors. */
const BATCH = 4096

/**
 * Evaluates a formula for several tensors that have the same scalars, in place. Small tensors are gathered and computed
 * by one kernel call, with the same result for every element.
 * @returns the sums of squares over all tensors, by name
 */
export function evaluate(
  formula: Formula,
  tensors: TensorArrays,
  scalars: Scalars = {},
): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const name of Object.keys(formula.squares)) sums[name] = 0
  const run = (arrays: Arrays) => {
    const found = evaluateOne(formula, arrays, scalars)
    for (const name in sums) sums[name]! += found[name]!
  }
  const names = Object.keys(tensors)
  const written = names.filter((name) => Object.hasOwn(formula.outputs, name))
  const first = tensors[names[0]!]!
  let batch: number[] = []
  let elements = 0
  const runOne = (i: number) => run(Object.fromEntries(names.map((name) => [name, tensors[name]![i]!])))
  const runBatch = () => {
    if (batch.length === 1) runOne(batch[0]!)
    else {
      const gathered = names.map((name, k) => gather(tensors[name]!, batch, scratchLike(tensors[name]![0]!, k)))
      run(Object.fromEntries(names.map((name, k) => [name, gathered[k]!.subarray(0, elements)])))
      for (const name of written) scatter(gathered[names.indexOf(name)]!, tensors[name]!, batch)
    }
    batch = []
    elements = 0
  }
  for (let i = 0; i < first.length; i++) {
    const { length } = first[i]!
    if (length > SMALL_TENSOR || names.some((name) => tensors[name]![i] instanceof Float64Array)) {
      runOne(i)
      continue
    }
    if (elements + length > BATCH) runBatch()
    batch.push(i)
    elements += length
  }
  if (batch.length > 0) runBatch()
  return sums
}

/** Gathered elements, reused by the next batch. */
const scratch = { bytes: [] as Uint8Array[], floats: [] as Float32Array[] }

function scratchLike(array: Elements, k: number): Elements {
  if (array instanceof Uint8Array) {
    scratch.bytes[k] ??= new Uint8Array(BATCH)
    return scratch.bytes[k]
  }
  scratch.floats[k] ??= new Float32Array(BATCH)
  return scratch.floats[k]
}

function gather(arrays: readonly Elements[], indices: readonly number[], into: Elements): Elements {
  let at = 0
  for (const i of indices) {
    const array = arrays[i]!
    for (let j = 0; j < array.length; j++) into[at++] = array[j]!
  }
  return into
}

function scatter(from: Elements, arrays: readonly Elements[], indices: readonly number[]): void {
  let at = 0
  for (const i of indices) {
    const array = arrays[i]!
    for (let j = 0; j < array.length; j++) array[j] = from[at++]!
  }
}

/** Kernels of a formula by the types of its arrays. */
interface Kernels {
  readonly names: readonly string[]
  readonly byTypes: Map<number, Kernel>
}

const cache = new WeakMap<Formula, Kernels>()

/**
 * Evaluates a formula for one tensor, in place. Computes in single precision if all arrays are float32 or bytes, in
 * double precision if one is float64. Without WebAssembly an interpreter computes in double precision.
 * @param arrays all arrays that the formula reads and writes, of one length; an output may replace an array that is
 * read
 * @param scalars all scalars of the formula
 * @returns the sums of squares by name
 */
export function evaluateOne(formula: Formula, arrays: Arrays, scalars: Scalars = {}): Readonly<Record<string, number>> {
  let kernels = cache.get(formula)
  if (!kernels) {
    kernels = { names: [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])], byTypes: new Map() }
    cache.set(formula, kernels)
  }
  const { names, byTypes } = kernels
  const types = encodeTypes(names, arrays)
  let kernel = byTypes.get(types)
  if (!kernel) {
    const bytes = new Set(names.filter((name) => arrays[name] instanceof Uint8Array))
    kernel = compileFormula(formula, { precision: types < 0 ? 'double' : 'single', bytes }) ?? interpret(formula)
    byTypes.set(types, kernel)
  }
  return kernel(arrays, scalars)
}

/** Encodes the array types in one number: a binary digit per array, 1 for bytes; negative if an array is float64. */
function encodeTypes(names: readonly string[], arrays: Arrays): number {
  let bytes = 1
  let sign = 1
  for (let i = 0; i < names.length; i++) {
    const array = arrays[names[i]!]
    if (array instanceof Float64Array) sign = -1
    bytes = 2 * bytes + (array instanceof Uint8Array ? 1 : 0)
  }
  return sign * bytes
}
