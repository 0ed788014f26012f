import type { Dim, Shape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'

/** Shape arithmetic is followed through tensors of at most this many elements. */
export const CONTENTS_LIMIT = 64

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
