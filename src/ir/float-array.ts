import { allocateIn, wasmMemoryOf } from './wasm-memory.js'

/**
 * Elements of a floating-point tensor in row-major order, without its shape: a parameter, a gradient, an optimizer
 * state.
 */
export type FloatArray = Float32Array | Float64Array

/** A zeroed array of the same length and precision, in shared memory if the given one is. */
export function zeroArrayLike(array: FloatArray): FloatArray {
  return viewFloats(
    array instanceof Float64Array ? 'double' : 'single',
    zeroBytes(array, array.byteLength),
    array.length,
  )
}

/** The scalar product of two vectors of the same length. */
export function dot(a: FloatArray, b: FloatArray): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/** A view of the numbers at an offset of a buffer. */
export const viewFloats = (
  precision: 'single' | 'double',
  { buffer, offset }: { readonly buffer: ArrayBufferLike; readonly offset: number },
  length: number,
): FloatArray =>
  precision === 'double' ? new Float64Array(buffer, offset, length) : new Float32Array(buffer, offset, length)

/** A zeroed mask of the same length, in shared memory if the array is. */
export function zeroMaskLike(array: FloatArray): Uint8Array {
  const { buffer, offset } = zeroBytes(array, array.length)
  return new Uint8Array(buffer, offset, array.length)
}

function zeroBytes({ buffer }: FloatArray, bytes: number): { buffer: ArrayBufferLike; offset: number } {
  const memory = wasmMemoryOf(buffer)
  const range = memory ? allocateIn(memory, bytes) : null
  return range ?? { buffer: isShared(buffer) ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes), offset: 0 }
}

/** Whether a buffer is in shared memory, which browsers have on isolated pages only. */
export const isShared = (buffer: ArrayBufferLike): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && buffer instanceof SharedArrayBuffer

/** Maps every array of a record by `f`; the names stay the same. */
export function mapArrays<In, Out>(arrays: Readonly<Record<string, In>>, f: (array: In, name: string) => Out) {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, f(array, name)]))
}

/**
 * Calls `f` with the parts of arrays that make up a range of all their elements in a row.
 * @param f gets a part, and the position of its first element in the range
 */
export function eachPart<A extends FloatArray | Uint8Array>(
  arrays: readonly A[],
  from: number,
  length: number,
  f: (part: A, at: number) => void,
): void {
  let first = 0
  for (const array of arrays) {
    const [start, end] = [Math.max(0, from - first), Math.min(array.length, from + length - first)]
    if (start < end) f(array.subarray(start, end) as A, first + start - from)
    first += array.length
  }
}
