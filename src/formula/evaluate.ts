import type { Formula } from './formula.js'
import { interpreted } from './interpret.js'
import type { Arrays, Kernel, Scalars } from './kernel.js'
import { compiled } from './wasm.js'

/** A formula's kernels by what they are for. */
interface Kernels {
  readonly names: readonly string[]
  readonly by: Map<string, Kernel>
}

const known = new WeakMap<Formula, Kernels>()

/**
 * Computes a formula over host arrays, in place: in WebAssembly and single precision where all arrays are float32 or bytes,
 * else in double precision.
 * @param arrays everything the formula reads and writes, of one length; an output may replace an array that is read
 * @param scalars every scalar of the formula
 * @returns the sums of squares by name
 */
export function evaluate(formula: Formula, arrays: Arrays, scalars: Scalars = {}): Readonly<Record<string, number>> {
  let kernels = known.get(formula)
  if (!kernels) {
    const names = [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])]
    kernels = { names, by: new Map() }
    known.set(formula, kernels)
  }
  const kind = kindOf(kernels.names, arrays)
  let kernel = kernels.by.get(kind)
  if (!kernel) {
    const bytes = new Set(kernels.names.filter((name) => arrays[name] instanceof Uint8Array))
    kernel = (kind === DOUBLE ? null : compiled(formula, bytes)) ?? interpreted(formula)
    kernels.by.set(kind, kernel)
  }
  return kernel(arrays, scalars)
}

const DOUBLE = 'double'

/** What the kernel depends on: whether an array is in double precision, and which ones are bytes. */
function kindOf(names: readonly string[], arrays: Arrays): string {
  let bytes = 'single'
  for (const name of names) {
    const array = arrays[name]!
    if (array instanceof Float64Array) return DOUBLE
    if (array instanceof Uint8Array) bytes += ` ${name}`
  }
  return bytes
}
