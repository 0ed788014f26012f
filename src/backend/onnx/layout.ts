import { sizeOf } from '../../ir/tensor.js'

/** One tensor's place in the flat array of its bundle. */
export interface Part {
  readonly name: string
  readonly dims: readonly number[]
  readonly from: number
  readonly length: number
}

/**
 * Tensors that are updated as one: a large one alone, in its own dims; small ones that go by the same factors as one flat
 * array, because on a device many small operations cost more than the copies in and out of it.
 */
export interface Bundle {
  /** Names its tensors in programs; never used twice. */
  readonly id: number
  readonly parts: readonly Part[]
  readonly dims: readonly number[]
  readonly length: number
}

/** Elements up to which a tensor is joined with others: it then is cheaper to copy than to launch kernels for. */
const SMALL = 2 ** 18
/** Elements of a bundle of several: far below what one binding of a buffer may hold. */
const MOST = 2 ** 22

/** The tensors of these dims as a bundle, in this order. */
export function bundleOf(id: number, tensors: readonly (readonly [string, readonly number[]])[]): Bundle {
  let from = 0
  const parts = tensors.map(([name, dims]): Part => {
    const part = { name, dims, from, length: sizeOf(dims) }
    from += part.length
    return part
  })
  return { id, parts, dims: parts.length === 1 ? parts[0]!.dims : [from], length: from }
}

/**
 * How `bundles` must change so that those of one bundle have one key; undefined where they need not. Small tensors whose
 * bundle is `fresh` (never used by a step) are joined by their key. Tensors without a key are left out of the step, and
 * share no bundle with others.
 */
export function regrouped(
  bundles: readonly Bundle[],
  keyOf: (name: string) => string | undefined,
  fresh: (bundle: Bundle) => boolean,
): readonly (readonly string[])[] | undefined {
  const groups: string[][] = []
  const open = new Map<string, { names: string[]; length: number }>()
  let changed = false
  for (const bundle of bundles) {
    const byKey = new Map<string | undefined, string[]>()
    for (const { name } of bundle.parts) byKey.set(keyOf(name), [...(byKey.get(keyOf(name)) ?? []), name])
    const [[key, names]] = [...byKey] as [[string | undefined, string[]]]
    if (byKey.size > 1) {
      changed = true
      groups.push(...byKey.values())
    } else if (key === undefined || bundle.length > SMALL || !fresh(bundle)) {
      groups.push(names)
    } else {
      const group = open.get(key)
      if (group && group.length + bundle.length <= MOST) {
        changed = true
        group.names.push(...names)
        group.length += bundle.length
      } else {
        groups.push(names)
        open.set(key, { names, length: bundle.length })
      }
    }
  }
  return changed ? groups : undefined
}
