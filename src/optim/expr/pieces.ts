import type { FloatArray } from '../../ir/float-array.js'
import { type WasmMemory, wasmMemoryOf } from '../../ir/wasm-memory.js'
import type { Formula } from './expr.js'
import { interpret } from './interpreter.js'
import type { Arrays, Kernel, Scalars, Sums } from './program.js'
import { compileFormula } from './wasm/compile.js'

export type Elements = FloatArray | Uint8Array

/** Arrays that a formula reads and writes, by name: one per tensor, in the same order under every name. */
export type TensorArrays = Readonly<Record<string, readonly Elements[]>>

/** Consecutive elements of a tensor. */
export interface Piece {
  /** Index of the tensor. */
  readonly tensor: number
  readonly from: number
  readonly to: number
}

/** Largest number of elements of a piece: 0.2 ms of an update. */
const maxPieceElements = 2 ** 16

/**
 * Cuts tensors of these lengths into pieces, in order. The pieces do not depend on the number of threads, and neither
 * does a sum over them.
 */
export const cutIntoPieces = (lengths: readonly number[]): Piece[] =>
  lengths.flatMap((length, tensor) =>
    Array.from({ length: Math.max(1, Math.ceil(length / maxPieceElements)) }, (_, i) => ({
      tensor,
      from: i * maxPieceElements,
      to: Math.min(length, (i + 1) * maxPieceElements),
    })),
  )

/** Sums of squares of several tensors, by name: one number per tensor, in the order of the tensors. */
export type SumsByTensor = Readonly<Record<string, Float64Array>>

/** Adds up sums of the same names, in order. */
export function addUp(all: readonly Sums[]): Sums {
  const sums: Record<string, number> = {}
  for (const found of all) for (const name in found) sums[name] = (sums[name] ?? 0) + found[name]!
  return sums
}

/** Kernels of a formula by the types of its arrays. */
interface Kernels {
  readonly names: readonly string[]
  readonly byTypes: Map<number, Kernel>
}

type KernelCache = WeakMap<Formula, Kernels>

const cache: KernelCache = new WeakMap()
const sharedCaches = new WeakMap<WasmMemory, KernelCache>()

function cacheOf(memory: WasmMemory | undefined): KernelCache {
  if (!memory) return cache
  const found = sharedCaches.get(memory) ?? new WeakMap()
  sharedCaches.set(memory, found)
  return found
}

/**
 * Evaluates a formula for a piece, in place. Arrays in the memory of a trainer are not copied.
 * @param memory the memory that contains all arrays; by default the one in which this thread allocated some of them
 */
export function evaluatePiece(
  formula: Formula,
  tensors: TensorArrays,
  { tensor, from, to }: Piece,
  scalars: Scalars,
  memory?: WasmMemory,
): Sums {
  const arrays: Record<string, Elements> = {}
  for (const name in tensors) {
    const array = tensors[name]![tensor]!
    arrays[name] = to - from === array.length ? array : array.subarray(from, to)
  }
  return kernelOf(formula, arrays, memory)(arrays, scalars)
}

function kernelOf(formula: Formula, arrays: Arrays, given: WasmMemory | undefined): Kernel {
  const memory = given ?? memoryOf(arrays)
  const cache = cacheOf(memory)
  let kernels = cache.get(formula)
  if (!kernels) {
    kernels = { names: [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])], byTypes: new Map() }
    cache.set(formula, kernels)
  }
  const { names, byTypes } = kernels
  const isOutside = (name: string) => !given && memory !== undefined && wasmMemoryOf(arrays[name]!.buffer) !== memory
  const types = encodeTypes(names, arrays, isOutside)
  let kernel = byTypes.get(types)
  if (!kernel) {
    const bytes = new Set(names.filter((name) => arrays[name] instanceof Uint8Array))
    const outside = new Set(names.filter(isOutside))
    const precision = types < 0 ? 'double' : 'single'
    kernel = compileFormula(formula, { precision, bytes }, memory, outside) ?? interpret(formula)
    byTypes.set(types, kernel)
  }
  return kernel
}

/** The memory of a trainer that contains at least one of the arrays. */
function memoryOf(arrays: Arrays): WasmMemory | undefined {
  for (const name in arrays) {
    const memory = wasmMemoryOf(arrays[name]!.buffer)
    if (memory) return memory
  }
  return undefined
}

/**
 * Encodes the array types in one number: a digit of base 4 per array, 1 for bytes, plus 2 if it is outside of the
 * memory; negative if an array is float64.
 */
function encodeTypes(names: readonly string[], arrays: Arrays, isOutside: (name: string) => boolean): number {
  let digits = 1
  let sign = 1
  for (let i = 0; i < names.length; i++) {
    const array = arrays[names[i]!]
    if (array instanceof Float64Array) sign = -1
    digits = 4 * digits + (array instanceof Uint8Array ? 1 : 0) + (isOutside(names[i]!) ? 2 : 0)
  }
  return sign * digits
}
