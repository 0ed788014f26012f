/**
 * Elements of a floating-point tensor in row-major order, without its shape: a parameter, a gradient, an optimizer
 * state.
 */
export type FloatArray = Float32Array | Float64Array

/** A zeroed array of the same length and precision. */
export const zeroArrayLike = (array: FloatArray): FloatArray =>
  array instanceof Float64Array ? new Float64Array(array.length) : new Float32Array(array.length)

/** Maps every array of a record by `f`; the names stay the same. */
export function mapArrays<In, Out>(arrays: Readonly<Record<string, In>>, f: (array: In, name: string) => Out) {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, f(array, name)]))
}
