import { type FloatArray, viewFloats } from '../../../ir/float-array.js'
import type { WasmMemory } from '../../../ir/wasm-memory.js'
import type { Formula } from '../expr.js'
import type { Kernel } from '../program.js'
import { double, emitFormula, type MemoryLayout, single, type Vector } from './emit-formula.js'
import { getSharedWasm, getWasm, kernelMemoryBytes } from './instance.js'

/** Elements per chunk: the chunks of five arrays fit the second-level cache. */
const maxChunkElements = 4096

/** Types of a kernel's arrays. */
export interface ArrayTypes {
  readonly precision: 'single' | 'double'
  /** Names of the arrays of bytes. */
  readonly bytes: ReadonlySet<string>
}

/**
 * Compiles a formula to a WebAssembly kernel that computes a vector at a time. Chunks of the arrays are copied to the
 * module's memory and back, except those of arrays that it contains. In double precision, float32 arrays are converted, and
 * results rounded once.
 * @param memory the memory that contains the arrays
 * @param outside names of the arrays that it does not contain
 * @returns null if WebAssembly is unavailable
 */
export function compileFormula(
  formula: Formula,
  { precision, bytes }: ArrayTypes,
  memory?: WasmMemory,
  outside: ReadonlySet<string> = new Set(),
): Kernel | null {
  const inPlace = memory && precision === 'single' ? getSharedWasm(memory) : null
  const host = inPlace ?? getWasm()
  if (!host) return null
  const vector = precision === 'single' ? single : double
  const { places, chunk } = layout(formula, bytes, vector, host.offset)
  const { run } = host.instantiate<{ run(...countAndPlaces: number[]): void }>([emitFormula(formula, places, vector)])
  const names = Object.keys(places.arrays)
  const widths = names.map((name) => (bytes.has(name) ? 1 : vector.width))
  const copied = [0, ...Object.values(places.arrays)]
  const direct = [...copied]
  const scalarNames = formula.scalars
  const scalarView = viewFloats(precision, host, scalarNames.length)
  const sums = Object.entries(places.squares).map(([name, at]) => [name, new Float64Array(host.buffer, at, 1)] as const)
  const view = (name: string) => {
    const offset = places.arrays[name]!
    const inside = bytes.has(name)
      ? new Uint8Array(host.buffer, offset, chunk)
      : viewFloats(precision, { buffer: host.buffer, offset }, chunk)
    return [name, inside] as const
  }
  const inputs = formula.arrays.map(view)
  const outputs = Object.keys(formula.outputs).map(view)
  const isOutside = ([name]: (typeof inputs)[number]) => outside.has(name)
  const [outsideInputs, outsideOutputs] = [inputs.filter(isOutside), outputs.filter(isOutside)]
  const within = names.flatMap((name, i) => (outside.has(name) ? [] : [i]))
  const leading = (formula.arrays[0] ?? outputs[0]?.[0])!

  return (arrays, scalars) => {
    const { length } = arrays[leading]!
    for (let i = 0; i < scalarNames.length; i++) scalarView[i] = scalars[scalarNames[i]!]!
    for (const [, sum] of sums) sum[0] = 0
    for (let from = 0; from < length; from += chunk) {
      const n = Math.min(chunk, length - from)
      // The rest of a vector at the end may belong to another array.
      const isDirect = inPlace !== null && (n * vector.width) % 16 === 0
      if (isDirect) for (const i of within) direct[i + 1] = arrays[names[i]!]!.byteOffset + from * widths[i]!
      const places = isDirect ? direct : copied
      places[0] = n
      for (const [name, inside] of isDirect ? outsideInputs : inputs) inside.set(viewOf(arrays[name]!, from, n))
      run(...places)
      for (const [name, inside] of isDirect ? outsideOutputs : outputs)
        arrays[name]!.set(n === chunk ? inside : viewOf(inside, 0, n), from)
    }
    const found: Record<string, number> = {}
    for (const [name, sum] of sums) found[name] = sum[0]!
    return found
  }
}

/** A view of some elements. Creating it from the buffer is faster than `subarray`. */
function viewOf(array: FloatArray | Uint8Array, from: number, n: number): FloatArray | Uint8Array {
  if (n === array.length) return array
  if (array instanceof Float32Array) return new Float32Array(array.buffer, array.byteOffset + 4 * from, n)
  return array.subarray(from, from + n)
}

/** Lays out the memory from an offset on: scalars, then sums, then a chunk of every array. */
function layout(formula: Formula, bytes: ReadonlySet<string>, { width }: Vector, offset: number) {
  const names = [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])]
  const squares = Object.keys(formula.squares)
  const aligned = (at: number) => 16 * Math.ceil(at / 16)
  const sumsAt = aligned(offset + width * formula.scalars.length)
  const arraysAt = aligned(sumsAt + 8 * squares.length)
  const widthOf = (name: string) => (bytes.has(name) ? 1 : width)
  const perElement = names.reduce((sum, name) => sum + widthOf(name), 0)
  const chunk = Math.min(maxChunkElements, 16 * Math.floor((kernelMemoryBytes + offset - arraysAt) / perElement / 16))
  let at = arraysAt
  const arrays: Record<string, number> = {}
  for (const name of names) {
    arrays[name] = at
    at += chunk * widthOf(name)
  }
  const numbered = (list: readonly string[], from: number, width: number) =>
    Object.fromEntries(list.map((name, i) => [name, from + i * width]))
  const scalars = numbered(formula.scalars, offset, width)
  const places: MemoryLayout = { scalars, squares: numbered(squares, sumsAt, 8), arrays, bytes }
  return { places, chunk }
}
