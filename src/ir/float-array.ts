/**
 * Elements of a floating-point tensor in row-major order, without its shape: a parameter, a gradient, an optimizer
 * state.
 */
export type FloatArray = Float32Array | Float64Array

/** A zeroed array of the same length and precision, in shared memory if the given one is. */
export const zeroArrayLike = (array: FloatArray): FloatArray =>
  array instanceof Float64Array
    ? new Float64Array(zeroBytes(array, array.byteLength))
    : new Float32Array(zeroBytes(array, array.byteLength))

/** A zeroed mask of the same length, in shared memory if the array is. */
export const zeroMaskLike = (array: FloatArray): Uint8Array => new Uint8Array(zeroBytes(array, array.length))

const zeroBytes = ({ buffer }: FloatArray, bytes: number): ArrayBufferLike =>
  isShared(buffer) ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes)

/** Whether a buffer is in shared memory, which browsers have on isolated pages only. */
export const isShared = (buffer: ArrayBufferLike): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && buffer instanceof SharedArrayBuffer

/** Maps every array of a record by `f`; the names stay the same. */
export function mapArrays<In, Out>(arrays: Readonly<Record<string, In>>, f: (array: In, name: string) => Out) {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, f(array, name)]))
}
