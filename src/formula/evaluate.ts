import type { Formula } from './formula.js'
import { interpreted } from './interpret.js'
import type { Arrays, Kernel, Scalars } from './kernel.js'
import { compiled } from './wasm.js'

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
export function evaluate(formula: Formula, arrays: Arrays, scalars: Scalars = {}): Readonly<Record<string, number>> {
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
    kernel = compiled(formula, { precision: kind < 0 ? 'double' : 'single', bytes }) ?? interpreted(formula)
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
