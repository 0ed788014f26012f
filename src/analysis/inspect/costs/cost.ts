import type { Dim } from '../../../ir/shape.js'
import type { TensorType, Value } from '../../../ir/value.js'
import type { AttributesOf, Definition, PerSlot } from '../../../op/define.js'

/**
 * How many operations one application of an operator takes: an addition, a multiplication, a comparison, a choice or an
 * elementary function (exp, tanh, erf, ...) of one element is one, so a multiply-add is two. What only moves elements, or
 * changes their type, takes none. NaN where a length it depends on, or the data, is not known.
 */
export type Cost<D> =
  D extends Definition<infer I, infer _O, infer A>
    ? (inputs: PerSlot<I, Value>, outputs: readonly Value[], attributes: AttributesOf<A>) => number
    : never

/** Costs of a whole family: an operator without one does not compile. */
export type Costs<Family> = { readonly [K in keyof Family]: Cost<Family[K]> }

export const lengthOf = (dim: Dim | undefined): number => (typeof dim === 'number' ? dim : Number.NaN)

/** The product of some lengths. */
export const product = (dims: readonly Dim[] | undefined): number =>
  dims?.reduce<number>((total, dim) => total * lengthOf(dim), 1) ?? Number.NaN

/** The number of elements. */
export const size = ({ shape }: TensorType): number => product(shape)

/** The length of one axis; a negative one counts from the end. */
export const along = ({ shape }: TensorType, axis: number): number => lengthOf(shape?.at(axis))

/** Moves elements, or copies them. */
export const free = (): number => 0

export const perOutput =
  (operations: number) =>
  (_: readonly (Value | null)[], [y]: readonly Value[]): number =>
    operations * size(y!)

export const perInput =
  (operations: number) =>
  ([x]: readonly (Value | null)[]): number =>
    operations * size(x!)
