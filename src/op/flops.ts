/**
 * Numbers of operations of operators (the fact `flops`). An addition, a multiplication, a comparison, a selection or an
 * elementary function (exp, tanh, erf, ...) of one element is one operation, so a multiply-add is two. Moving elements
 * or changing their type takes none. A number that depends on an unknown length, or on the data, is NaN.
 * @module
 */

import type { Dim } from '../ir/shape.js'
import type { TensorType, Value } from '../ir/value.js'

/** A length as a number; NaN if it is symbolic. */
export const knownLength = (dim: Dim | undefined): number => (typeof dim === 'number' ? dim : Number.NaN)

/** The product of lengths; NaN if one of them is unknown. */
export const product = (dims: readonly Dim[] | undefined): number =>
  dims?.reduce<number>((total, dim) => total * knownLength(dim), 1) ?? Number.NaN

/** The number of elements of a tensor. */
export const size = ({ shape }: TensorType): number => product(shape)

/** The length of one axis; a negative axis counts from the end. */
export const lengthAt = ({ shape }: TensorType, axis: number): number => knownLength(shape?.at(axis))

/** No operations: the operator moves or copies elements. */
export const noFlops = (): number => 0

/** A number that depends on the data. */
export const unknownFlops = (): number => Number.NaN

/** `operations` per element of the first output. */
export const perOutput =
  (operations: number) =>
  (_: readonly (Value | null)[], [y]: readonly Value[]): number =>
    operations * size(y!)

/** `operations` per element of the first input. */
export const perInput =
  (operations: number) =>
  ([x]: readonly (Value | null)[]): number =>
    operations * size(x!)

/** One addition per element of `y` if there is a bias. */
export const biasFlops = (bias: Value | null, y: Value): number => (bias ? size(y) : 0)

/** Operations of a convolution, windows on padding included: 2 C/g k1 k2 ... per output element. */
export const convolutionFlops = (w: Value, y: Value, bias: Value | null = null): number =>
  2 * size(y) * product(w.shape?.slice(1)) + biasFlops(bias, y)

/** Operations of a matrix product: 2 k per output element. */
export const matMulFlops = (a: Value, y: Value): number => 2 * size(y) * lengthAt(a, -1)
