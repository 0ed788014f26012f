import type { Formula } from './expr.js'
import type { ParallelEvaluation } from './parallel.js'
import { addUp, cutIntoPieces, type Elements, evaluatePiece, type SumsByTensor, type TensorArrays } from './pieces.js'
import type { Arrays, Scalars, Sums } from './program.js'

/** Largest length of a tensor that is gathered with others: a kernel call costs as much as some hundred elements. */
export const maxGatheredLength = 192
/** Largest number of elements that are gathered for one kernel call. */
const maxGatheredElements = 4096

/**
 * Evaluates a formula for several tensors that have the same scalars, in place. Small tensors are gathered and computed
 * by one kernel call, with the same result for every element.
 * @param parallel evaluates tensors in shared memory in several threads, with the same results bit for bit
 * @returns the sums of squares over all tensors, by name
 */
export function evaluate(
  formula: Formula,
  tensors: TensorArrays,
  scalars: Scalars = {},
  parallel?: ParallelEvaluation,
): Sums {
  const sums: Record<string, number> = {}
  for (const name of Object.keys(formula.squares)) sums[name] = 0
  const add = (found: Sums) => {
    for (const name in sums) sums[name]! += found[name]!
  }
  const names = Object.keys(tensors)
  const written = names.filter((name) => Object.hasOwn(formula.outputs, name))
  const first = tensors[names[0]!]!
  const isSmall = (i: number) =>
    first[i]!.length <= maxGatheredLength && !names.some((name) => tensors[name]![i] instanceof Float64Array)
  const indices = [...first.keys()]
  const large = indices.filter((i) => !isSmall(i))
  const select = (name: string) => [name, large.map((i) => tensors[name]![i]!)] as const
  const found = evaluateEach(formula, Object.fromEntries(names.map(select)), scalars, parallel)
  let seen = 0
  let batch: number[] = []
  let elements = 0
  const runBatch = () => {
    const gathered = names.map((name, k) => gather(tensors[name]!, batch, scratchLike(tensors[name]![0]!, k)))
    add(
      evaluateOne(
        formula,
        Object.fromEntries(names.map((name, k) => [name, gathered[k]!.subarray(0, elements)])),
        scalars,
      ),
    )
    for (const name of written) scatter(gathered[names.indexOf(name)]!, tensors[name]!, batch)
    batch = []
    elements = 0
  }
  for (const i of indices) {
    if (!isSmall(i)) {
      for (const name in sums) sums[name]! += found[name]![seen]!
      seen++
      continue
    }
    const { length } = first[i]!
    if (elements + length > maxGatheredElements) runBatch()
    batch.push(i)
    elements += length
  }
  if (batch.length > 0) runBatch()
  return sums
}

/**
 * Evaluates a formula for each of several tensors, in place.
 * @param parallel as in `evaluate`
 * @returns the sums of squares of each tensor
 */
export function evaluateEach(
  formula: Formula,
  tensors: TensorArrays,
  scalars: Scalars = {},
  parallel?: ParallelEvaluation,
): SumsByTensor {
  const shared = parallel?.evaluate(formula, tensors, scalars)
  if (shared) return shared
  const names = Object.keys(tensors)
  const count = tensors[names[0]!]!.length
  const sums = Object.fromEntries(Object.keys(formula.squares).map((name) => [name, new Float64Array(count)]))
  for (let i = 0; i < count; i++) {
    const found = evaluateOne(formula, Object.fromEntries(names.map((name) => [name, tensors[name]![i]!])), scalars)
    for (const name in sums) sums[name]![i] = found[name]!
  }
  return sums
}

/** Gathered elements, reused by the next batch. */
const scratch = { bytes: [] as Uint8Array[], floats: [] as Float32Array[] }

function scratchLike(array: Elements, k: number): Elements {
  if (array instanceof Uint8Array) {
    scratch.bytes[k] ??= new Uint8Array(maxGatheredElements)
    return scratch.bytes[k]
  }
  scratch.floats[k] ??= new Float32Array(maxGatheredElements)
  return scratch.floats[k]
}

function gather(arrays: readonly Elements[], indices: readonly number[], into: Elements): Elements {
  let at = 0
  for (const i of indices) {
    into.set(arrays[i]!, at)
    at += arrays[i]!.length
  }
  return into
}

function scatter(from: Elements, arrays: readonly Elements[], indices: readonly number[]): void {
  let at = 0
  for (const i of indices) {
    const array = arrays[i]!
    array.set(from.subarray(at, at + array.length))
    at += array.length
  }
}

/**
 * Evaluates a formula for one tensor, in place, a piece after the other. Computes in single precision if all arrays are
 * float32 or bytes, in double precision if one is float64. Without WebAssembly an interpreter computes in double
 * precision.
 * @param arrays all arrays that the formula reads and writes, of one length; an output may replace an array that is
 * read
 * @param scalars all scalars of the formula
 * @returns the sums of squares by name
 */
export function evaluateOne(formula: Formula, arrays: Arrays, scalars: Scalars = {}): Sums {
  const names = Object.keys(arrays)
  const tensors = Object.fromEntries(names.map((name) => [name, [arrays[name]!]]))
  return addUp(
    cutIntoPieces([arrays[names[0]!]!.length]).map((piece) => evaluatePiece(formula, tensors, piece, scalars)),
  )
}
