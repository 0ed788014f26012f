import type { FloatArray } from '../ir/float-array.js'
import { emitted, type Places } from './emit.js'
import type { Formula } from './formula.js'
import { MEMORY, wasmHost } from './host.js'
import type { Kernel } from './kernel.js'
import { double, single, type Vector } from './vector.js'

/** Elements per chunk: those of five arrays stay in the second-level cache. */
const CHUNK = 4096

/** The arrays of a kernel. */
export interface Kinds {
  readonly precision: 'single' | 'double'
  /** The names of those that are bytes. */
  readonly bytes: ReadonlySet<string>
}

/**
 * A formula as WebAssembly, a vector at a time. The arrays stay what they are: a chunk of each is copied into the module's
 * memory and back. In double precision some may be float32; they are widened, and rounded once.
 * @returns null where there is no WebAssembly
 */
export function compiled(formula: Formula, { precision, bytes }: Kinds): Kernel | null {
  const host = wasmHost()
  if (!host) return null
  const vector = precision === 'single' ? single : double
  const Floats = precision === 'single' ? Float32Array : Float64Array
  const { places, chunk } = layout(formula, bytes, vector)
  const { run } = host.instantiate<{ run(count: number): void }>([emitted(formula, places, vector)])
  const scalarNames = formula.scalars
  const scalarView = new Floats(host.buffer, 0, scalarNames.length)
  const sums = Object.entries(places.squares).map(([name, at]) => [name, new Float64Array(host.buffer, at, 1)] as const)
  const view = (name: string) =>
    [name, new (bytes.has(name) ? Uint8Array : Floats)(host.buffer, places.arrays[name]!, chunk)] as const
  const inputs = formula.arrays.map(view)
  const outputs = Object.keys(formula.outputs).map(view)
  const leading = (formula.arrays[0] ?? outputs[0]?.[0])!

  return (arrays, scalars) => {
    const { length } = arrays[leading]!
    for (let i = 0; i < scalarNames.length; i++) scalarView[i] = scalars[scalarNames[i]!]!
    for (const [, sum] of sums) sum[0] = 0
    for (let from = 0; from < length; from += chunk) {
      const n = Math.min(chunk, length - from)
      for (const [name, inside] of inputs) inside.set(part(arrays[name]!, from, n))
      run(n)
      for (const [name, inside] of outputs) arrays[name]!.set(n === chunk ? inside : part(inside, 0, n), from)
    }
    const found: Record<string, number> = {}
    for (const [name, sum] of sums) found[name] = sum[0]!
    return found
  }
}

/** A view of some elements; it is made faster from a buffer than from another view. */
function part(array: FloatArray | Uint8Array, from: number, n: number): FloatArray | Uint8Array {
  if (n === array.length) return array
  if (array instanceof Float32Array) return new Float32Array(array.buffer, array.byteOffset + 4 * from, n)
  return array.subarray(from, from + n)
}

/** Scalars, then sums, then a chunk of every array. */
function layout(formula: Formula, bytes: ReadonlySet<string>, { width }: Vector) {
  const names = [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])]
  const squares = Object.keys(formula.squares)
  const aligned = (at: number) => 16 * Math.ceil(at / 16)
  const sumsAt = aligned(width * formula.scalars.length)
  const arraysAt = aligned(sumsAt + 8 * squares.length)
  const widthOf = (name: string) => (bytes.has(name) ? 1 : width)
  const perElement = names.reduce((sum, name) => sum + widthOf(name), 0)
  const chunk = Math.min(CHUNK, 16 * Math.floor((MEMORY - arraysAt) / perElement / 16))
  let at = arraysAt
  const arrays: Record<string, number> = {}
  for (const name of names) {
    arrays[name] = at
    at += chunk * widthOf(name)
  }
  const numbered = (list: readonly string[], from: number, width: number) =>
    Object.fromEntries(list.map((name, i) => [name, from + i * width]))
  const scalars = numbered(formula.scalars, 0, width)
  const places: Places = { scalars, squares: numbered(squares, sumsAt, 8), arrays, bytes }
  return { places, chunk }
}
