import { type FloatArray, zeroArrayLike } from '../ir/float-array.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'

/** One array per trainable tensor, by name. A frozen tensor is simply not in it. */
export type ParameterArrays = Readonly<Record<string, FloatArray>>

/** Elements of a moment: in the parameter's precision, or in the type that a `GraphRule` gives. */
export type MomentArray = FloatArray | Uint8Array

/** Gradients by parameter name, each as long as its parameter. Names that are not parameters are ignored. */
export type Gradients = Readonly<Record<string, FloatArray>>

/**
 * The array that belongs to parameter `name`.
 * @param what what `arrays` holds, for the message: 'loss gradient', 'curvature gradient', 'momentum'
 * @throws OnnxIreError `invalid-data` when it is missing, not a float array, or not `length` long
 */
export function arrayOf(
  arrays: Readonly<Record<string, FloatArray>>,
  name: string,
  length: number,
  what: string,
): FloatArray {
  const array = getOwn(arrays, name)
  if (!array) throw missingError(name, 'array', what)
  if (!(array instanceof Float32Array || array instanceof Float64Array))
    throw new OnnxIreError('invalid-data', `the ${what} of '${name}' must be a Float32Array or a Float64Array`)
  if (array.length !== length)
    throw new OnnxIreError(
      'invalid-data',
      `the ${what} of '${name}' has ${array.length} elements, the parameter has ${length}`,
    )
  return array
}

/** The error of a parameter without an array, or a tensor on a device. */
export const missingError = (name: string, kind: 'array' | 'tensor', what: string): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `no ${what} for parameter '${name}': give one ${kind} per parameter, or leave '${name}' out of the parameters to freeze it`,
  )

/** sums <- sums + factor * arrays, by name. A missing sum is 0. A factor of 0 adds nothing, even for NaN. */
export function addScaled(sums: Record<string, FloatArray>, arrays: ParameterArrays, factor: number): void {
  for (const [name, array] of Object.entries(arrays)) {
    const sum = getOwn(sums, name) ?? zeroArrayLike(array)
    sums[name] = sum
    if (factor !== 0) for (let i = 0; i < sum.length; i++) sum[i]! += factor * array[i]!
  }
}

/** arrays <- factor * arrays */
export function scaleArrays(arrays: Readonly<Record<string, FloatArray>>, factor: number): void {
  for (const array of Object.values(arrays)) for (let i = 0; i < array.length; i++) array[i]! *= factor
}
