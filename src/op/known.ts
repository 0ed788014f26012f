import { CONTENTS_LIMIT } from '../ir/leaf.js'
import { type Dim, isStatic, type Shape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'


/** The elements of an operand when every one of them is a known number. */
export function knownNumbers(value: Value | null | undefined): readonly number[] | undefined {
  const { contents } = value ?? {}
  return contents?.every((element): element is number => typeof element === 'number') ? contents : undefined
}

/** How many elements a 1-D operand holds, where known: its rank or number of axes when it is a shape or a list of axes. */
export function lengthOf(value: Value): number | undefined {
  const length = value.contents?.length ?? value.shape?.[0]
  return typeof length === 'number' ? length : undefined
}

/** `contents` unless it is too long to be shape arithmetic. */
export const small = (contents: readonly Dim[] | undefined): readonly Dim[] | undefined =>
  contents !== undefined && contents.length <= CONTENTS_LIMIT ? contents : undefined

/** The number of elements of a shape that has no symbols and few elements, else undefined. */
export function smallSize(shape: Shape | undefined): number | undefined {
  const size = shape?.reduce<number>((product, dim) => (typeof dim === 'number' ? product * dim : Number.NaN), 1)
  return size !== undefined && size <= CONTENTS_LIMIT ? size : undefined
}

/** Throws unless lengths, axes or indices are whole numbers. */
export function checkIntegers(...operands: readonly (Value | null)[]): void {
  const other = operands.find((operand) => operand && operand.dtype !== 'int64' && operand.dtype !== 'int32')
  if (other)
    throw new OnnxIreError('invalid-shape', `takes lengths, axes and indices as int64 or int32, not ${other.dtype}`)
}

/**
 * What is known of a result of shape `to` each of whose elements is one of `x`: the one at `source(c)`, c being its own coordinates.
 */
export function takenFrom(
  x: Value,
  to: Shape | undefined,
  source: (c: readonly number[]) => readonly number[],
): readonly Dim[] | undefined {
  const { contents, shape } = x
  const size = smallSize(to)
  if (contents === undefined || !isStatic(shape) || size === undefined) return undefined
  return Array.from(
    { length: size },
    (_, i) => contents[offsetIn(shape, source(coordinatesOf(i, to as readonly number[])))] ?? unknownDim(),
  )
}

/** The place in memory of the element at coordinates `c`. */
export const offsetIn = (dims: readonly number[], c: readonly number[]): number =>
  dims.reduce((offset, dim, axis) => offset * dim + c[axis]!, 0)

function coordinatesOf(offset: number, dims: readonly number[]): readonly number[] {
  let rest = offset
  return dims
    .toReversed()
    .map((dim) => {
      const c = rest % dim
      rest = (rest - c) / dim
      return c
    })
    .toReversed()
}
