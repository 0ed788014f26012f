import { sizeOf } from '../../ir/tensor.js'
import { append } from '../../util/append.js'

/** Position of one tensor in the flat array of its group. */
export interface Part {
  readonly name: string
  readonly dims: readonly number[]
  readonly offset: number
  readonly length: number
}

/**
 * Tensors that are updated together. A large tensor is a group of its own, in its own dims. Small tensors with the same
 * coefficients are one flat array: on a device, many small operations cost more than the copies into and out of it.
 */
export interface TensorGroup {
  /** The number of the group in the names of graph inputs and outputs; never reused. */
  readonly id: number
  readonly parts: readonly Part[]
  readonly dims: readonly number[]
  readonly length: number
}

/** Largest number of elements of a tensor that is grouped with others. */
const maxGroupedTensorElements = 2 ** 18
/** Largest number of elements of a group of several tensors: far below the limit of a buffer binding. */
const maxGroupElements = 2 ** 22

/** Creates the group of the tensors of these names and dims, in this order. */
export function createGroup(id: number, tensors: readonly (readonly [string, readonly number[]])[]): TensorGroup {
  let offset = 0
  const parts = tensors.map(([name, dims]): Part => {
    const part = { name, dims, offset, length: sizeOf(dims) }
    offset += part.length
    return part
  })
  return { id, parts, dims: parts.length === 1 ? parts[0]!.dims : [offset], length: offset }
}

/**
 * Regroups tensors so that all tensors of a group have the same key. Small tensors of the same key are joined while
 * their groups are `fresh` (not updated yet). Tensors without a key are not in the step and share no group with others.
 * @returns the names by group, or undefined if the groups need not change
 */
export function regroup(
  groups: readonly TensorGroup[],
  keyOf: (name: string) => string | undefined,
  isFresh: (group: TensorGroup) => boolean,
): readonly (readonly string[])[] | undefined {
  const result: string[][] = []
  const open = new Map<string, { names: string[]; length: number }>()
  let changed = false
  for (const group of groups) {
    const byKey = new Map<string | undefined, string[]>()
    for (const { name } of group.parts) append(byKey, keyOf(name), name)
    const [[key, names]] = [...byKey] as [[string | undefined, string[]]]
    if (byKey.size > 1) {
      changed = true
      result.push(...byKey.values())
    } else if (key === undefined || group.length > maxGroupedTensorElements || !isFresh(group)) {
      result.push(names)
    } else {
      const joined = open.get(key)
      if (joined && joined.length + group.length <= maxGroupElements) {
        changed = true
        joined.names.push(...names)
        joined.length += group.length
      } else {
        result.push(names)
        open.set(key, { names, length: group.length })
      }
    }
  }
  return changed ? result : undefined
}
