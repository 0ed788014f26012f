import type { FloatArray } from '../optim/arrays.js'
import { emitted, type Places } from './emit.js'
import type { Formula } from './formula.js'
import { MEMORY, wasmHost } from './host.js'
import type { Kernel } from './kernel.js'

/** Elements per chunk: those of five arrays stay in the second-level cache. */
const CHUNK = 4096

/**
 * A formula as WebAssembly, four elements at a time in single precision, for float32 arrays and masks of bytes. They stay
 * what they are: a chunk of each is copied into the module's memory and back.
 * @param bytes the names of the arrays that are bytes
 * @returns null where there is no WebAssembly
 */
export function compiled(formula: Formula, bytes: ReadonlySet<string>): Kernel | null {
  const host = wasmHost()
  if (!host) return null
  const { places, chunk, scalarNames } = layout(formula, bytes)
  const { run } = host.instantiate<{ run(count: number): void }>([emitted(formula, places)])
  const scalarView = new Float32Array(host.buffer, 0, scalarNames.length)
  const sums = Object.entries(places.squares).map(([name, at]) => [name, new Float64Array(host.buffer, at, 1)] as const)
  const view = (name: string) =>
    bytes.has(name)
      ? new Uint8Array(host.buffer, places.arrays[name]!, chunk)
      : new Float32Array(host.buffer, places.arrays[name]!, chunk)
  const inputs = formula.arrays.map((name) => [name, view(name)] as const)
  const outputs = Object.keys(formula.outputs).map((name) => [name, view(name)] as const)
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
function layout(formula: Formula, bytes: ReadonlySet<string>) {
  const scalarNames = formula.scalars
  const names = [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])]
  const squares = Object.keys(formula.squares)
  const sumsAt = 16 * Math.ceil(scalarNames.length / 4)
  const arraysAt = sumsAt + 16 * Math.ceil(squares.length / 2)
  const width = names.reduce((sum, name) => sum + (bytes.has(name) ? 1 : 4), 0)
  const chunk = Math.min(CHUNK, 16 * Math.floor((MEMORY - arraysAt) / width / 16))
  let at = arraysAt
  const arrays: Record<string, number> = {}
  for (const name of names) {
    arrays[name] = at
    at += chunk * (bytes.has(name) ? 1 : 4)
  }
  const numbered = (list: readonly string[], from: number, width: number) =>
    Object.fromEntries(list.map((name, i) => [name, from + i * width]))
  const places: Places = { scalars: numbered(scalarNames, 0, 4), squares: numbered(squares, sumsAt, 8), arrays, bytes }
  return { places, chunk, scalarNames }
}
